"""Runs a measure on a subject, task by task; each task is written when it is finished and never run twice."""

import shutil
import sys
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.errors import HfpruneError
from hfprune.measures import Measure, Outcome
from hfprune.provenance import Stopwatch, fingerprint, is_current, provenance
from hfprune.results import Cell, Value, write_result
from hfprune.study.layout import stems
from hfprune.subject import Subject


def take(
    measure: Measure,
    name: str,
    subject: Subject,
    cell: Cell,
    out: Path,
    inputs: dict[str, Path],
    not_applicable: str = "",
    placement: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Run a measure and write its results: `<out>/<name>.json`, or a file per task in `<out>/<name>/`.

    With several tasks, a finished result from the same inputs and settings is kept.

    Args:
        measure: the measure with its settings; `settled` should have fixed those that are null by default.
        name: the measure's name in results.
        subject: the subject to measure.
        cell: written into the results.
        out: folder of the results.
        inputs: role → file or folder that made the subject, for provenance.
        not_applicable: why the method cannot prune as described at this ratio; then nothing is measured, and
            the results say so.
        placement: where the weights lie, for provenance; another place gives the same results within rounding.
        settings: all other settings of the measurement, for provenance.
    """
    # Snakemake removes the outputs of a failed job, so finished tasks wait here for the others.
    state = out / f".{name}.state"
    tasks = dict(zip(stems(name, measure), measure.by_task().items(), strict=True))
    known: dict[str, tuple[dict[str, Path], dict[str, Any]]] = {}
    for stem, (task, part) in tasks.items():
        folders = {asset: subject.asset(*asset.split("/", 1)) for asset in part.assets()}
        named = {f"{asset.split('/')[0]}/{folder.name}": folder for asset, folder in folders.items()}
        made_from = inputs | named | {f"files/{path}": path for path in part.files()}
        made_with = part.model_dump(mode="json") | {"version": part.version} | settings
        known[stem] = made_from, made_with
        if measure.per_task and any(_finished(place / stem, made_from, made_with) for place in (out, state)):
            print(f"{name}: {task} is already there", file=sys.stderr)
            continue
        watch = Stopwatch()
        subject.state, subject.identity = state / "unfinished", fingerprint(made_from, made_with)
        values, items = ([], pd.DataFrame()) if not_applicable else _run(part, subject)
        made = provenance(watch, made_from, **made_with) | (placement or {})
        write_result(state / f"{stem}.json", cell, name, task, values, made, items, not_applicable)
    for stem, about in known.items():
        # Only current results: a killed run with other settings may have left some, too.
        if _finished(state / stem, *about):
            (out / stem).parent.mkdir(parents=True, exist_ok=True)
            for suffix in ("parquet", "json"):  # the JSON marks a result as finished, so it moves last
                Path(f"{state / stem}.{suffix}").replace(f"{out / stem}.{suffix}")
    shutil.rmtree(state, ignore_errors=True)


def _run(measure: Measure, subject: Subject) -> tuple[list[Value], pd.DataFrame]:
    """Return the values, and the outcomes of every item; with resampled plans, by the column `resample`."""
    outcomes: list[Outcome] = []
    for variant in subject.variants():
        outcomes.append(measure.run(variant) if variant else outcomes[-1])
    outcomes = [outcomes[-1], *outcomes[:-1]]  # the subject itself first
    items = [pd.DataFrame() if found.items is None else found.items for found in outcomes]
    if len(outcomes) == 1:
        return outcomes[0].values, items[0]
    for found in outcomes[1:]:  # `write_result` checks those of the plan itself
        for value in found.values:
            if not isfinite(value.value):
                raise HfpruneError(f"{value.metric} of a resampled plan is {value.value}; try another dtype")
    numbered = [table.assign(resample=number) for number, table in enumerate(items)]
    return outcomes[0].values, pd.concat(numbered, ignore_index=True)


def _finished(stem: Path, inputs: dict[str, Path], settings: dict[str, Any]) -> bool:
    path = Path(f"{stem}.json")
    return Path(f"{stem}.parquet").exists() and is_current(path, inputs, settings)


def settled(measure: Measure) -> Measure:
    """Return the measure with a fixed batch size, since results depend on it slightly in low precision."""
    if "batch_tokens" not in type(measure).model_fields or measure.batch_tokens is not None:  # type: ignore[attr-defined]
        return measure
    from hfprune.models.load import default_batch_tokens

    return measure.model_copy(update={"batch_tokens": default_batch_tokens()})
