"""The model card of an export, made of recorded facts alone: the asset, the plan and the measurements."""

from inspect import getsource
from pathlib import Path

from huggingface_hub import ModelCard

import hfprune
from hfprune.comparison.before_after import LEGEND, SIZE, SPEED, BeforeAfter
from hfprune.exports.export_folder import CARD
from hfprune.exports.metadata import metadata, read_asset
from hfprune.files import read_json
from hfprune.models.load import load_skeleton
from hfprune.models.shape import own_sizes
from hfprune.models.units import LISTS_OF_LAYERS, count_parameters
from hfprune.provenance import recorded
from hfprune.rounding import percent
from hfprune.runs import Provenance
from hfprune.settings import plain

# In a subfolder, since some programs load every safetensors file beside `config.json`.
PLAN = "recipe/plan.safetensors"
_SOURCE = ("repo", "revision", "package", "version", "member", "file", "sha256")
_LOAD = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```"""
_COMPACT = """Its layers differ in size, as `per_layer_config` in `config.json` says, by which `from_pretrained` of
transformers 5.24 does not build this architecture yet. `hfprune.load("THIS_FOLDER")` loads it, and so does this
function, which needs transformers alone:

```python
{function}

model = load("THIS_FOLDER")
tokenizer = transformers.AutoTokenizer.from_pretrained("THIS_FOLDER")
```

vLLM serves LLaMA, Mistral, Qwen2, Qwen3 and Gemma 3 with such layers where hfprune is installed beside it. For
llama.cpp, export LLaMA, Mistral, Qwen2 or Qwen3 with `--gguf`; for other engines, export with `--plain`."""


def save_card(folder: Path, source: Path, about: Provenance, comparison: BeforeAfter | None = None) -> None:
    """Write the card into an otherwise complete export of the dense model in `source`, with provenance `about`."""
    asset = read_asset(source)
    fetched = asset.get("entry", {}).get("source", {})
    name = asset.get("name", source.resolve().name)
    settings = recorded(folder / PLAN).get("settings", {}) if (folder / PLAN).is_file() else {}
    corpus = settings.get("scoring", {}).get("corpus", "")
    data = metadata(name, source, corpus, comparison.rows if comparison else ())
    details = ", ".join(f"{key} `{fetched[key]}`" for key in _SOURCE if key in fetched)
    base = f"Base model: `{name}`{f' ({details})' if details else ''}."
    local = fetched.get("provider", "local") == "local"
    parts = {
        f"# {name}, pruned": " ".join([base, _sizes(source, about), *reordered(folder, source)]),
        "## Method": _method(folder, about),
        "## Measured": _measured(comparison, about),
        "## Load with transformers 4 or 5": _loading(folder),
        "## Reproduce": _reproduce("BASE" if local else name, folder, about),
    }
    sections = "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items())
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{sections}\n").save(folder / CARD)


def reordered(folder: Path, source: Path) -> list[str]:
    """Return warnings for programs that know a layer's kind by its number alone, such as mlx-lm and llama.cpp."""
    dense = load_skeleton(source).config.to_dict() if (source / "config.json").is_file() else {}
    kept = read_json(folder / "config.json")
    return [
        f"`{key}` no longer alternates as in the dense model, since layers were removed: programs that take "
        "a layer's kind from its number, as mlx-lm and llama.cpp may, give wrong logits; use transformers."
        for key in LISTS_OF_LAYERS
        if kept.get(key) and dense.get(key) and kept[key] != dense[key][: len(kept[key])]
    ]


def _loading(folder: Path) -> str:
    if not own_sizes(read_json(folder / "config.json")):
        return _LOAD
    from hfprune.models import compact

    _, _, function = getsource(compact).partition('"""\n\n')  # without the docstring
    return _COMPACT.format(function=function.strip())


def _sizes(source: Path, about: Provenance) -> str:
    left, written, inputs = about["parameters"], about["parameters_on_disk"], about.get("inputs", {})
    total = count_parameters(load_skeleton(source)) if (source / "config.json").is_file() else 0
    share = f" of {total:,}, {percent(1 - left / total)} fewer" if total else ""
    sentences = [f"{left:,} parameters{share}."]
    if written > left:
        sentences.append(f"The files hold {written:,}: the rest are zeros that pad narrower layers.")
    if "linear" in inputs:
        how = "least-squares reconstruction (GRAIL)"
        sentences.append(f"Weights that read the kept units were adjusted by {how}.")
    if "adapter" in inputs:
        sentences.append("A LoRA adapter, trained after pruning, is merged.")
    return " ".join(sentences)


def _method(folder: Path, about: Provenance) -> str:
    if not (folder / PLAN).is_file():
        by_another = "checkpoint" in about.get("inputs", {})
        return "Pruned by another tool." if by_another else "No plan was recorded."
    settings = recorded(folder / PLAN).get("settings", {})
    settings = settings.pop("scoring", {}) | settings
    words = {"ratio": "ratio (fraction of all parameters to remove)", "blocks": "sequences scored on"}
    rows = [
        f"| {words.get(key, key)} | `{plain(value)}` |"
        for key, value in settings.items()
        if value not in ({}, None, "")
    ]
    table = ["| setting | value |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([*table, f"`{PLAN}` names every unit that the model keeps."])


def _measured(comparison: BeforeAfter | None, about: Provenance) -> str:
    if comparison is None and (about.get("settings", {}).get("command") or "").startswith("hfprune prune "):
        return (
            "What `hfprune prune` measured will stand here: it had not ended when this card was written, and the "
            "same command goes on."
        )
    if comparison is None or all(row.measure == SIZE for row in comparison.rows):
        said = comparison.conclusions if comparison else ()
        return "\n\n".join(["Nothing was measured for this card.", *said])
    headers = comparison.headers()
    table = [headers, ["---"] * len(headers), *comparison.lines()]
    parts = ["\n".join(f"| {' | '.join(words)} |" for words in table), LEGEND]
    if any(row.measure == SPEED for row in comparison.rows):
        parts.append(
            f"Times are medians of n repeats on {comparison.timed_on}; their intervals are over these."
        )
    parts += comparison.conclusions
    if sample := comparison.sample:
        parts.append(f"The sentence {sample.prompt!r}, as the dense and this model go on:")
        # Verbatim, since a broken model may write Markdown.
        parts.append(f"```text\n{sample.before!r}\n{sample.after!r}\n```")
    return "\n\n".join(parts)


def _reproduce(model: str, folder: Path, about: Provenance) -> str:
    text = f"Exported by hfprune {hfprune.__version__}; `provenance.json` has settings and hashes."
    settings = about.get("settings", {})
    command = settings.get("command")
    if (folder / PLAN).is_file() and not {"linear", "adapter"} & about.get("inputs", {}).keys():
        flags = {key: settings.get(key) for key in ("align", "dtype")}
        more = "".join(f" --{key} {value}" for key, value in flags.items() if value not in (None, 1))
        more += "".join(f" --{flag}" for flag in ("plain", "gguf") if settings.get(flag))
        command = f"hfprune export --model {model} --plan {PLAN}{more} --out pruned"
    elif command:
        text += " This command makes it again; where another dtype is faster, a few other units may stay:"
    return f"{text}\n\n```console\n$ {command}\n```" if command else text
