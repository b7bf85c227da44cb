"""Runs measures on subjects, task by task; each task is written when it is finished and never run twice."""

import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measures import Measure, Outcome, stems
from hfprune.provenance import Stopwatch, fingerprint, is_current, provenance
from hfprune.registry import source_file
from hfprune.results import Cell, Value, spell_cell, write_result


@dataclass(frozen=True)
class Target:
    """A subject to measure, and where its results go."""

    subject: Subject
    cell: Cell
    """Written into the results."""
    out: Path
    """Folder of the results."""
    inputs: dict[str, Path]
    """Role → file or folder that made the subject, for provenance."""
    not_applicable: str = ""
    """Why the method cannot prune as described at this ratio; then nothing is measured, and the results say so."""


@dataclass
class _Part:
    """A measure's part for one task, under the measure's name in results."""

    name: str
    task: str
    measure: Measure
    out: Path
    """Folder of the results."""
    state: Path
    """Folder of the measure's finished and unfinished tasks, until all tasks of all measures are finished."""
    stem: str
    inputs: dict[str, Path]
    settings: dict[str, Any]
    watch: Stopwatch
    resampled: list[Outcome] = field(default_factory=list)
    """Outcomes of the resampled plans."""

    def finished(self, folder: Path) -> bool:
        """Tell whether the result is in a folder, and made from these inputs with these settings."""
        path = folder / f"{self.stem}.json"
        return path.with_suffix(".parquet").exists() and is_current(path, self.inputs, self.settings)

    def run(self, subject: Subject) -> Outcome:
        """Measure a subject; only this takes the part's time."""
        self.watch.go_on()
        subject.state, subject.identity = self.state / "unfinished", fingerprint(self.inputs, self.settings)
        outcome = self.measure.run(subject)
        self.watch.rest()
        return outcome


def take(
    measures: dict[str, Measure],
    targets: Sequence[Target],
    placement: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Run measures and write their results: `<out>/<name>.json`, or a file per task in `<out>/<name>/`.

    Of several measures, tasks or targets, a finished result from the same inputs and settings is kept. A target
    that fails does not stop the others, whose results wait for the next call. A target's resampled plans come
    first, for all measures, and then its subject itself, so that the dense model is loaded once for each target.

    Args:
        measures: the measures with their settings, by name in results; `settled` should have fixed those that
            are null by default.
        targets: what is measured. Each gives up its models before the next one loads its own.
        placement: where the weights lie, for provenance; another place gives the same results within rounding.
        settings: all other settings of the measurement, for provenance.

    Raises:
        Exception: the first that a measure raised.
    """
    parts: list[_Part] = []
    failed: list[Exception] = []
    kept = len(measures) > 1 or len(targets) > 1
    for target in targets:
        own = [part for name in measures for part in _parts(name, measures[name], target, settings)]
        parts += own
        try:
            _measure([part for part in own if not _is_there(part, kept)], target, placement or {})
        except Exception as error:
            if len(targets) == 1:
                raise
            said = str(error) if isinstance(error, HfpruneError) else traceback.format_exc()
            print(f"{spell_cell(target.cell)}: {said}", file=sys.stderr)
            failed.append(_without_frames(error))
        target.subject.release()
    if failed:
        raise failed[0]
    for part in parts:
        # Only current results: a killed run with other settings may have left some, too.
        if part.finished(part.state):
            (part.out / part.stem).parent.mkdir(parents=True, exist_ok=True)
            for suffix in ("parquet", "json"):  # the JSON marks a result as finished, so it moves last
                Path(f"{part.state / part.stem}.{suffix}").replace(f"{part.out / part.stem}.{suffix}")
    for part in parts:
        shutil.rmtree(part.state, ignore_errors=True)


def _without_frames(error: Exception) -> Exception:
    """Return an error whose frames hold nothing any more, such as models."""
    each: BaseException | None = error
    while each:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
    return error


def _is_there(part: _Part, kept: bool) -> bool:
    """Tell whether a part's result is there and is to be kept; that of one task among several always is."""
    if not (kept or part.measure.per_task) or not any(map(part.finished, (part.out, part.state))):
        return False
    print(f"{part.name}: {part.task or 'its result'} is already there", file=sys.stderr)
    for file in part.out.glob(f"{part.stem}.*"):
        file.touch()  # newer than its inputs, as Snakemake expects after a job
    return True


def _measure(parts: list[_Part], target: Target, placement: dict[str, Any]) -> None:
    """Run the parts on one target, and write what each gives into its state folder."""
    # Those that compare with the dense model first, since `Subject.model` replaces it.
    parts.sort(key=lambda part: part.measure.needs != "beside")
    skip = target.not_applicable
    if not skip:
        _run_resampled(parts, target.subject)
    for part in parts:
        values, items = ([], pd.DataFrame()) if skip else _run(part, target.subject)
        made = provenance(part.watch, part.inputs, **part.settings) | placement
        path = part.state / f"{part.stem}.json"
        write_result(path, target.cell, part.name, part.task, values, made, items, skip)


def _parts(name: str, measure: Measure, target: Target, settings: dict[str, Any]) -> Iterator[_Part]:
    """Yield a measure's parts, with what their results depend on."""
    out, inputs = target.out, target.inputs
    for stem, (task, part) in zip(stems(name, measure), measure.by_task().items(), strict=True):
        folders = {asset: target.subject.asset(*asset.split("/", 1)) for asset in part.assets()}
        named = {f"{asset.split('/')[0]}/{folder.name}": folder for asset, folder in folders.items()}
        made_from = inputs | {"measure": source_file(part)} | named
        made_from |= {f"files/{path}": path for path in part.files()}
        made_with = part.model_dump(mode="json") | {"version": part.version} | settings
        watch = Stopwatch()
        watch.rest()
        # Snakemake removes the outputs of a failed job, so what is finished waits here for the rest.
        yield _Part(name, task, part, out, out / f".{name}.state", stem, made_from, made_with, watch)


def _run_resampled(parts: list[_Part], subject: Subject) -> None:
    """Measure the resampled plans, one after another, by all measures that are taken on them."""
    chosen = [part for part in parts if part.measure.resampled]
    for variant in subject.variants() if chosen else ():
        for part in chosen:
            part.resampled.append(part.run(variant) if variant else part.resampled[-1])


def _run(part: _Part, subject: Subject) -> tuple[list[Value], pd.DataFrame]:
    """Return the values, and the outcomes of every item; with resampled plans, by the column `resample`."""
    outcomes = [part.run(subject), *part.resampled]
    items = [pd.DataFrame() if found.items is None else found.items for found in outcomes]
    if len(outcomes) == 1:
        return outcomes[0].values, items[0]
    for found in outcomes[1:]:  # `write_result` checks those of the plan itself
        for value in found.values:
            if not isfinite(value.value):
                raise HfpruneError(f"{value.metric} of a resampled plan is {value.value}; try another dtype")
    numbered = [table.assign(resample=number) for number, table in enumerate(items)]
    return outcomes[0].values, pd.concat(numbered, ignore_index=True)


def settled(measure: Measure) -> Measure:
    """Return the measure with a fixed batch size, since results depend on it slightly in low precision."""
    if "batch_tokens" not in type(measure).model_fields or measure.batch_tokens is not None:  # type: ignore[attr-defined]
        return measure
    from hfprune.models.load import default_batch_tokens

    return measure.model_copy(update={"batch_tokens": default_batch_tokens()})
