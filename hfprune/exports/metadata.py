"""The metadata of a model card: where a model comes from, and its results, by the hub's own schema.

Nothing is guessed: a key whose value is not known is left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hfprune.exports.export_folder import CARD
from hfprune.files import read_json
from hfprune.results.effect_rows import EffectRow

# What was measured on, by measure, as the folders of the fetched assets are called; all others read a text.
_MEASURED_ON = {"gold_bpb": "requests", "asked_gold_bpb": "requests", "tasks": "tasks"}
_MEASURED_ON |= dict.fromkeys(("size", "latency", "recovery", "sample"), "")


class Entry(TypedDict, total=False):
    """An asset's entry in the catalogue, as far as a card tells it."""

    source: dict[str, str]


class AssetRecord(TypedDict, total=False):
    """The `asset.json` of a fetched asset, as far as a card tells it."""

    name: str
    license: str
    entry: Entry


def read_asset(folder: Path) -> AssetRecord:
    """Return the record of a fetched asset; empty for a folder that is none."""
    return read_json(folder / "asset.json") if (folder / "asset.json").is_file() else {}


def metadata(name: str, source: Path, corpus: str, rows: Sequence[EffectRow] = ()) -> ModelCardData:
    """Return the metadata of an export.

    Args:
        name: of the dense model.
        source: folder of the dense model; those of other fetched assets lie beside it.
        corpus: name of the calibration corpus; "" for none.
        rows: what was measured of the export, beside the dense model.
    """
    asset = read_asset(source)
    repository = asset.get("entry", {}).get("source", {}).get("repo")
    read = _repository(source, "corpora", corpus)
    results = [*_results(source, rows)]
    return ModelCardData(
        base_model=repository,
        # The hub has no word for pruning; this is what it takes a model for that names no relation.
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
    """Return licence and language as the card of the dense model has them."""
    path, keys = source / CARD, ("license", "license_name", "license_link", "language")
    stated = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else {}
    known = {key: stated[key] for key in keys if stated.get(key)}
    return {"license": asset.get("license") or "unknown"} | known


def _repository(source: Path, kind: str, name: str) -> str | None:
    """Return the hub's name of an asset that was fetched beside the dense model, if it is of the hub."""
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
