"""The metadata of a model card in the hub's schema: where a model comes from, and its results.

Nothing is guessed: keys with unknown values are left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hfprune.exports.export_folder import CARD
from hfprune.files import read_json
from hfprune.results.effect_rows import EffectRow

# Kind of asset that a measure reads, "" for none; all other measures read corpora.
_MEASURED_ON = {"gold_bpb": "requests", "asked_gold_bpb": "requests", "tasks": "tasks"}
_MEASURED_ON |= dict.fromkeys(("size", "latency", "recovery", "sample"), "")


class Entry(TypedDict, total=False):
    """The part of an asset's catalogue entry that a card needs."""

    source: dict[str, str]


class AssetRecord(TypedDict, total=False):
    """The part of a fetched asset's `asset.json` that a card needs."""

    name: str
    license: str
    entry: Entry


def read_asset(folder: Path) -> AssetRecord:
    """Return the record of a fetched asset; empty for any other folder."""
    return read_json(folder / "asset.json") if (folder / "asset.json").is_file() else {}


def metadata(name: str, source: Path, corpus: str, rows: Sequence[EffectRow] = ()) -> ModelCardData:
    """Return the metadata of an export.

    Args:
        name: name of the dense model.
        source: folder of the dense model; other fetched assets lie beside it.
        corpus: name of the calibration corpus; "" for none.
        rows: measurements of the export beside the dense model.
    """
    asset = read_asset(source)
    repository = asset.get("entry", {}).get("source", {}).get("repo")
    read = _repository(source, "corpora", corpus)
    results = [*_results(source, rows)]
    return ModelCardData(
        base_model=repository,
        # The hub has no word for pruning; this is its default for models that name no relation.
        base_model_relation="finetune" if repository else None,
        datasets=[read] if read else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["pruned", "hfprune"],
        # The card asks for both or neither.
        model_name=f"{name}-pruned" if results else None,
        eval_results=results or None,
        **_stated(source, asset),
    )


def _stated(source: Path, asset: AssetRecord) -> dict[str, Any]:
    """Return licence and language from the dense model's card, or the licence from its record."""
    path, keys = source / CARD, ("license", "license_name", "license_link", "language")
    stated = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else {}
    given = {key: stated[key] for key in keys if stated.get(key)}
    return {"license": asset.get("license") or "unknown"} | given


def _repository(source: Path, kind: str, name: str) -> str | None:
    """Return the hub repository of an asset that was fetched beside the dense model, if it comes from the hub."""
    record = read_asset(source.resolve().parent.parent / kind / name) if name else {}
    return record.get("entry", {}).get("source", {}).get("repo")


def _results(source: Path, rows: Sequence[EffectRow]) -> Iterator[EvalResult]:
    for row in rows:
        if kind := _MEASURED_ON.get(row.measure, "corpora"):
            yield EvalResult(
                task_type="text-generation",
                dataset_type=_repository(source, kind, row.task) or row.task,
                dataset_name=row.task,
                metric_type=row.metric,
                metric_name=row.label,
                metric_value=row.own,
            )
