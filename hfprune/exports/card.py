"""The model card of an export, from what is known: the asset, the plan's provenance, the results; nothing else."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

import hfprune
from hfprune.analysis.before_after import Comparison, compare, read_sides, weight_bytes
from hfprune.analysis.steps import SPEED
from hfprune.analysis.usability import verdict
from hfprune.errors import HfpruneError
from hfprune.exports.export_folder import CARD
from hfprune.files import read_json
from hfprune.models.load import load_skeleton
from hfprune.models.units import LISTS_OF_LAYERS, count_parameters
from hfprune.provenance import hardware, recorded
from hfprune.results import DENSE, read_result, values_table
from hfprune.settings import plain

# Not among the weights, since some programs load every safetensors file that lies beside `config.json`.
PLAN = "recipe/plan.safetensors"
_ROLES = ("model", "plan", "checkpoint", "linear", "adapter")
_SOURCE = ("repo", "revision", "package", "version", "member", "file", "sha256")
_LOAD = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```"""


class Card:
    def __init__(
        self,
        source: Path,
        made: dict[str, Any],
        results: Iterable[Path] = (),
        comparison: Comparison | None = None,
    ) -> None:
        """Read the dense model's folder, and the results of both models; fail if they are of another model.

        A comparison that was made already replaces the results.
        """
        self.source, self.inputs, self.settings = source, made.get("inputs", {}), made.get("settings", {})
        self.repaired = "linear" in self.inputs or "adapter" in self.inputs
        self.asset = read_json(source / "asset.json") if (source / "asset.json").is_file() else {}
        self.fetched = self.asset.get("entry", {}).get("source", {})
        self.name = self.asset.get("name", source.resolve().name)
        self.dense = load_skeleton(source) if (source / "config.json").is_file() else None
        self.results = _results(results, self.inputs)
        self.comparison = comparison

    def save(self, folder: Path, left: int, written: int) -> None:
        """Write the card into an export that has all else: `left` parameters, `written` with padding."""
        plan = folder / PLAN if (folder / PLAN).is_file() else None
        data = ModelCardData(
            base_model=self.fetched.get("repo"),
            library_name="transformers",
            pipeline_tag="text-generation",
            tags=["pruned", "hfprune"],
            **self._licence(),
        )
        parts = {
            "Method": self._method(plan),
            "Measured": self._measured(folder, left),
            "Load with transformers 4 or 5": _LOAD,
            "Reproduce": self._reproduce(plan),
        }
        sections = [f"# {self.name}, pruned", " ".join([self._about(left, written), *self.warnings(folder)])]
        sections += [f"## {title}\n\n{text}" for title, text in parts.items()]
        ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n").save(folder / CARD)

    def warnings(self, folder: Path) -> list[str]:
        """Return what other programs get wrong: mlx-lm and llama.cpp know a layer's kind by its place alone."""
        kept, dense = read_json(folder / "config.json"), self.dense.config.to_dict() if self.dense else {}
        return [
            f"`{key}` no longer alternates as in the dense model, since layers were removed: programs that take "
            "a layer's kind from its number, as mlx-lm and llama.cpp may, give wrong logits; use transformers."
            for key in LISTS_OF_LAYERS
            if kept.get(key) and dense.get(key) and kept[key] != dense[key][: len(kept[key])]
        ]

    def _licence(self) -> dict[str, Any]:
        path, keys = self.source / CARD, ("license", "license_name", "license_link")
        stated = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else {}
        found = {key: stated[key] for key in keys if stated.get(key)}
        return found if "license" in found else {"license": self.asset.get("license") or "unknown"}

    def _about(self, left: int, written: int) -> str:
        details = ", ".join(f"{key} `{self.fetched[key]}`" for key in _SOURCE if key in self.fetched)
        total = count_parameters(self.dense) if self.dense else 0
        said = [
            f"Base model: `{self.name}`{f' ({details})' if details else ''}.",
            f"{left:,} parameters{f' of {total:,}, {1 - left / total:.1%} fewer' if total else ''}.",
        ]
        if written > left:
            said.append(f"The files hold {written:,}: the rest are zeros that pad narrower layers.")
        if "linear" in self.inputs:
            said.append(
                "Weights that read the kept units were adjusted by least-squares reconstruction (GRAIL)."
            )
        if "adapter" in self.inputs:
            said.append("A LoRA adapter, trained after pruning, is merged.")
        return " ".join(said)

    def _method(self, plan: Path | None) -> str:
        if not plan:
            return "Pruned by another tool." if "checkpoint" in self.inputs else "No plan was recorded."
        settings = recorded(plan).get("settings", {})
        known = settings.pop("scoring", {}) | settings
        words = {"ratio": "ratio (fraction of all parameters to remove)", "blocks": "sequences scored on"}
        rows = [
            f"| {words.get(key, key)} | `{plain(value)}` |"
            for key, value in known.items()
            if value not in ({}, None, "")
        ]
        table = ["| setting | value |", "|---|---|", *rows, ""] if rows else []
        return "\n".join([*table, f"`{PLAN}` names every unit that the model keeps."])

    def _measured(self, folder: Path, left: int) -> str:
        if self.comparison is None and not self.results:
            return "Nothing was measured for this card."
        found = self.comparison
        if found is None:
            if not (self.dense and any(map(_is_dense, self.results.values()))):
                return values_table([*self.results.values()], "github")
            sides, sizes = read_sides(self.results), (count_parameters(self.dense), left)
            step = [step for step in sides if step != DENSE][-1]
            rows = compare(sides, step, sizes, (weight_bytes(self.source), weight_bytes(folder)))
            said = verdict(rows, self.dense.config.vocab_size, repaired="adapter" in self.inputs)
            found = Comparison(rows, step, said)
        headers = found.headers()
        table = [headers, ["---"] * len(headers), *(row.words() for row in found.rows)]
        parts = ["\n".join(f"| {' | '.join(words)} |" for words in table)]
        if any(row.group == SPEED for row in found.rows):
            used = [result["provenance"]["hardware"] for result in self.results.values()] or [hardware()]
            on = {name for one in used for name in one.get("cuda") or [one["processor"]]}
            parts.append(f"Times were taken on {', '.join(sorted(on))}.")
        parts += found.verdict
        if sample := found.sample:
            parts.append(f"The sentence {sample['prompt']!r}, as the dense and this model go on:")
            # Verbatim, since a broken model may write Markdown.
            parts.append(f"```text\n{sample['before']!r}\n{sample['after']!r}\n```")
        return "\n\n".join(parts)

    def _reproduce(self, plan: Path | None) -> str:
        said = f"Exported by hfprune {hfprune.__version__}; `provenance.json` has settings and hashes."
        command = self.settings.get("command")
        if plan and not self.repaired:
            model = self.name if self.fetched.get("provider", "local") != "local" else "BASE"
            flags = {key: self.settings.get(key) for key in ("align", "dtype")}
            more = "".join(f" --{key} {value}" for key, value in flags.items() if value not in (None, 1))
            command = f"hfprune export --model {model} --plan {PLAN}{more} --out pruned"
        elif command:
            said += " This command makes it again; where another dtype is faster, a few other units may stay:"
        return f"{said}\n\n```console\n$ {command}\n```" if command else said


def results_in(folder: Path) -> list[Path]:
    """Return the results of a folder.

    Raises:
        HfpruneError: there is none.
    """
    found = {path: read_result(path) for path in sorted(folder.rglob("*.json"))}
    files = [path for path, result in found.items() if isinstance(result, dict) and "values" in result]
    if not files:
        raise HfpruneError(f"{folder}: holds no results; make them with `hfprune measure`")
    return files


def _results(files: Iterable[Path], inputs: dict[str, str]) -> dict[Path, dict[str, Any]]:
    found = {path: read_result(path) for path in files}
    for path, result in found.items():
        of = result["provenance"].get("inputs", {})
        same = all(of.get(role) == inputs.get(role) for role in _ROLES)
        if inputs and not same and not (_is_dense(result) and of.get("model") == inputs["model"]):
            raise HfpruneError(f"{path}: was measured on another {', '.join(_ROLES[:-1])} or {_ROLES[-1]}")
    return found


def _is_dense(result: dict[str, Any]) -> bool:
    return not {*_ROLES[1:]} & result["provenance"].get("inputs", {}).keys()
