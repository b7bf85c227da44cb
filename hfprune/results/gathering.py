"""From a study's files to its tables: the one place that reads the files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from hfprune.cells import KEY, Result, read_result
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import atomic_file
from hfprune.results.averages import levels
from hfprune.results.curves import curve
from hfprune.results.declarations import Declarations, declare
from hfprune.results.files import (
    DTYPES,
    ITEMS,
    NEURONS,
    RECORDS,
    RESULT,
    RESULTS,
    STUDY,
    write_csv,
    write_union,
)
from hfprune.results.kept_neurons import KeptNeurons
from hfprune.settings import load
from hfprune.study.added_effects import keep_losses
from hfprune.study.labels import labels, readable
from hfprune.study.study import Study

# Parts of the provenance with a column of their own in records.parquet; the rest is in its column `more`.
PARTS = ("settings", "inputs", "packages", "hardware", "cost")
WORDS = {"git": "commit", "hfprune": "version", "started": "started"}
RECORD = ["study", *RESULT, "not_applicable", *WORDS.values(), *PARTS, "curve", "more"]


def collect(study_file: Path, results: Sequence[Path], folder: Path, out: Path) -> None:
    """Write all that a study measured into the folder `out`, with a copy of the study's file.

    Any part of a study's files is enough, so that a running study can be inspected.
    """
    study = load(Study, study_file)
    declared = declare(study)
    read = {path: _read(path) for path in sorted(results)}
    values = named(_values(read), study, declared)
    items = [rows for path, result in read.items() if len(rows := _items(path, result))]
    neurons = KeptNeurons(study, study_file.stem, folder)
    # Nothing is written before everything is read.
    key = ["measure", "task", "model", "method", "calibration", "sequences", "ratio", "recovery", "draw"]
    whole = dict.fromkeys(("sequences", "draw"), "int64")
    none = pd.DataFrame(columns=[*RESULT, "resample"]).astype(
        {name: DTYPES[name] for name in RESULT} | whole | {"resample": "int64"}
    )
    ordered = sorted(items, key=lambda rows: [*map(str, rows[key].iloc[0])])
    losses = keep_losses(study.effects)
    rows = [record(result, losses=losses) for result in read.values()]
    records = pd.DataFrame(rows, columns=RECORD)
    records = records.astype(dict.fromkeys(RECORD, "str") | whole | {"ratio": "float64"})
    write_csv(values, out / RESULTS)
    write_union([none, *ordered], out / ITEMS)
    write_union([records.sort_values(key, ignore_index=True)], out / RECORDS)
    write_csv(neurons.with_reference(), out / NEURONS)
    with atomic_file(out / STUDY) as temporary:
        temporary.write_bytes(study_file.read_bytes())


def _read(path: Path) -> Result:
    text = f"{path}: not a complete result ({REASON}); delete it and measure again"
    with explained(text, OSError, ValueError):
        return read_result(path)


def _values(read: Mapping[Path, Result]) -> pd.DataFrame:
    rows = []
    origins: dict[tuple, Path] = {}
    for path, result in read.items():
        place = asdict(result.cell) | {"measure": result.measure, "task": result.task}
        for value in result.values:
            row = place | asdict(value)
            first = origins.setdefault(tuple(row[column] for column in KEY), path)
            if first != path:
                raise HfpruneError(
                    f"{path}: gives {value.metric} of the same cell, measure and task as {first}; "
                    "delete one of the two"
                )
            rows.append(row)
    columns = [*KEY, "value", "stderr", "n"]
    return pd.DataFrame(rows, columns=columns).astype({name: DTYPES[name] for name in columns})


def named(values: pd.DataFrame, study: Study, declared: Declarations) -> pd.DataFrame:
    """Return the rows of results.csv: values of single draws and their levels, with their labels.

    The columns of `values` are `KEY`, `value`, `stderr` and `n`. A value times `scale` is in `unit`.
    """
    rows = pd.concat([values, levels(values, declared)]).sort_values(KEY, ignore_index=True)
    pairs = [*zip(rows["measure"], rows["metric"], strict=True)]
    declarations = {pair: declared.find(*pair) for pair in {*pairs}}
    names = {name: label.label for name, label in labels(study).items()}
    criteria = {
        name: method.criterion or name for name, method in study.methods.items() if not method.unscored
    }
    rows["label"] = [names.get(method, readable(method)) for method in rows["method"]]
    rows["criterion"] = [criteria.get(method, "") for method in rows["method"]]
    rows["metric_label"] = [declarations[pair].label for pair in pairs]
    rows["unit"] = [declarations[pair].metric.unit for pair in pairs]
    rows["scale"] = [declarations[pair].metric.scale for pair in pairs]
    return rows[[*DTYPES]].astype(DTYPES)


def _items(path: Path, result: Result) -> pd.DataFrame:
    """Return the items of a result, sorted, with its key and the number of the resample (0: the draw itself)."""
    path = path.with_suffix(".parquet")
    if not path.exists():
        return pd.DataFrame()
    with explained(f"{path}: cannot read it ({REASON}); delete it and measure again", OSError, ValueError):
        rows = pd.read_parquet(path)
    if "resample" not in rows:
        rows = rows.assign(resample=0)
    order = [name for name in ("resample", "document", "item") if name in rows]
    rows = rows.sort_values(order, kind="stable", ignore_index=True)
    if "document" in rows:
        rows["document"] = rows["document"].astype("str")
    place = asdict(result.cell) | {"measure": result.measure, "task": result.task}
    first = pd.DataFrame(place, index=rows.index)[RESULT].astype({"ratio": "float64", "recovery": "str"})
    return pd.concat([first, rows[["resample", *rows.columns.drop("resample")]]], axis="columns")


def record(result: Result, *, losses: bool = False) -> dict[str, object]:
    """Return a result as a row of records.parquet (`RECORD`), with or without the losses of held-out sequences.

    The provenance is JSON in the columns `PARTS`; what has no column of its own is in `more`.
    """
    run = result.provenance
    rest = {key: value for key, value in run.items() if key not in (*PARTS, *WORDS, "curve")}
    return {
        **asdict(result.cell),
        "measure": result.measure,
        "task": result.task,
        "not_applicable": result.not_applicable,
        **{name: run.get(key) or "" for key, name in WORDS.items()},
        **{key: json.dumps(run.get(key, {}), sort_keys=True) for key in PARTS},
        "curve": json.dumps(curve(result.measure, run, losses=losses)),
        "more": json.dumps(rest, sort_keys=True),
    }
