"""Runs measures on cells, task by task; each result is written when it is finished and never made twice."""

import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hfprune.cells import BY_HAND, Cell, write_result
from hfprune.devices.batches import READ_AT_ONCE
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import Measure, Outcome, stems, waiting_folder
from hfprune.plugins.registry import source_file
from hfprune.provenance import is_current, provenance
from hfprune.runs import Stopwatch


class CellToMeasure(NamedTuple):
    """A cell to measure, and the folder of its results."""

    subject: Subject
    cell: Cell
    """Written into the results."""
    out: Path
    """Folder of the results."""
    inputs: dict[str, Path]
    """Role → file or folder from which the subject was made, for provenance."""
    not_applicable: str = ""
    """Why the method cannot prune at this ratio; if not "", nothing is measured, and the results say so."""
    settings: Mapping[str, object] = {}
    """Other settings from which the subject was made, for provenance."""


@dataclass
class _Measurement:
    name: str
    """Name of the measure in the results."""
    task: str
    measure: Measure
    out: Path
    """Path of the result, without suffix."""
    waiting: Path
    """Path where the result waits for the others, without suffix: Snakemake removes outputs of a failed job."""
    state: Path
    """Folder of all waiting results of the measure."""
    depends: tuple[dict[str, Path], dict[str, object]]
    """Inputs by role, and settings."""
    of_plans: list[Outcome] = field(default_factory=list)
    """The outcomes of resampled plans."""
    watch: Stopwatch = field(default_factory=lambda: Stopwatch(paused=True))
    """Time of this measurement alone."""

    def is_finished(self, result: Path) -> bool:
        record, items = (Path(f"{result}.{suffix}") for suffix in ("json", "parquet"))
        return is_current(record, [items], *self.depends)

    def run(self, subject: Subject) -> Outcome:
        self.watch.resume()
        outcome = self.measure.run(subject)
        self.watch.pause()
        return outcome


def measure_cells(
    measures: dict[str, Measure],
    cells: Sequence[CellToMeasure],
    **settings: object,
) -> bool:
    """Run measures and write their results: `<out>/<name>.json`, or one file per task in `<out>/<name>/`.

    With several measures, tasks or cells, current results are kept. A cell that fails does not stop the others,
    whose results wait for the next call.

    Args:
        measures: measures by their names in results, with batch sizes fixed by `with_batch_size`.
        cells: each releases its models before the next one loads its own.
        settings: all other settings of the measurement, for provenance.

    Returns:
        Whether anything was measured. The first exception of a cell is raised after all cells have been tried.
    """
    measurements: list[_Measurement] = []
    anew = False
    failed: list[Exception] = []
    # A single measurement by hand is repeated.
    several = len(measures) > 1 or len(cells) > 1 or cells[0].cell.study != BY_HAND
    for cell in cells:
        own = [
            measurement
            for name, measure in measures.items()
            for measurement in _measurements(name, measure, cell, settings)
        ]
        measurements += own
        try:
            todo = [measurement for measurement in own if not _is_kept(measurement, several)]
            anew |= bool(todo)
            _measure(todo, cell)
        except Exception as error:
            if len(cells) == 1:
                raise
            report = str(error) if isinstance(error, HfpruneError) else traceback.format_exc()
            print(f"{cell.cell}: {report}", file=sys.stderr)
            failed.append(_without_frames(error))
        cell.subject.release()
    if failed:
        raise failed[0]
    for measurement in measurements:
        # Only current results: a killed run with other settings may have left some, too.
        if measurement.is_finished(measurement.waiting):
            measurement.out.parent.mkdir(parents=True, exist_ok=True)
            # The JSON marks a result as finished, so the old one goes first, and the new one comes last.
            Path(f"{measurement.out}.json").unlink(missing_ok=True)
            for suffix in ("parquet", "json"):
                Path(f"{measurement.waiting}.{suffix}").replace(f"{measurement.out}.{suffix}")
    for measurement in measurements:
        shutil.rmtree(measurement.state, ignore_errors=True)
    return anew


def _without_frames(error: Exception) -> Exception:
    link: BaseException | None = error
    while link:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error


def _measurements(
    name: str, measure: Measure, cell: CellToMeasure, settings: Mapping[str, object]
) -> Iterator[_Measurement]:
    """Yield a measure's tasks on a cell, with all that their results depend on."""
    state = waiting_folder(cell.out, name)
    if not measure.exclusive:  # only times depend on the layers' devices
        settings = {key: value for key, value in settings.items() if key != "device_map"}
    for stem, (task, part) in zip(stems(name, measure), measure.by_task().items(), strict=True):
        inputs = cell.inputs | {"measure": source_file(part)}
        for asset in part.assets():
            kind, spelling = asset.split("/", 1)
            folder = cell.subject.asset(kind, spelling)
            inputs |= {f"{kind}/{folder.name}": folder}
        inputs |= {f"files/{path}": path for path in part.files()}
        used = part.model_dump(mode="json") | {"version": part.version, **settings, **cell.settings}
        yield _Measurement(name, task, part, cell.out / stem, state / stem, state, (inputs, used))


def _is_kept(measurement: _Measurement, several: bool) -> bool:
    """Tell whether a result is current and is kept: results of several measurements or tasks are."""
    places = measurement.out, measurement.waiting
    if not (several or measurement.measure.per_task) or not any(map(measurement.is_finished, places)):
        return False
    print(f"{measurement.name}: {measurement.task or 'its result'} is already there", file=sys.stderr)
    for file in measurement.out.parent.glob(f"{measurement.out.name}.*"):
        file.touch()  # newer than its inputs, as Snakemake expects after a job
    return True


def _measure(todo: list[_Measurement], cell: CellToMeasure) -> None:
    """Measure a cell, and write each result to its waiting path.

    The resampled plans come first, for all measures, so that the dense model is loaded once.
    """
    # Measures that compare with the dense model come first, since `Subject.model` replaces it.
    todo = sorted(todo, key=lambda measurement: measurement.measure.needs != "beside")
    skip = cell.not_applicable
    on_plans = [measurement for measurement in todo if measurement.measure.resampled and not skip]
    for variant in cell.subject.variants() if on_plans else ():
        for measurement in on_plans:
            measurement.of_plans.append(measurement.run(variant) if variant else measurement.of_plans[-1])
    for measurement in todo:
        outcome = Outcome([], pd.DataFrame())
        if not skip:
            outcome = _joined(measurement.run(cell.subject), measurement.of_plans)
        inputs, settings = measurement.depends
        run = provenance(measurement.watch, inputs, **settings)
        path = Path(f"{measurement.waiting}.json")
        write_result(
            path, cell.cell, measurement.name, measurement.task, outcome.values, run, outcome.items, skip
        )


def _joined(outcome: Outcome, of_plans: list[Outcome]) -> Outcome:
    """Return values and items of an outcome; with resampled plans, theirs follow, by the column `resample`."""
    outcomes = outcome, *of_plans
    items = [pd.DataFrame() if part.items is None else part.items for part in outcomes]
    if not of_plans:
        return Outcome(outcome.values, items[0])
    for value in (value for measured in of_plans for value in measured.values):
        if not isfinite(value.value):  # `write_result` checks those of the plan itself
            raise HfpruneError(f"{value.metric} of a resampled plan is {value.value}; try another dtype")
    numbered = [table.assign(resample=number) for number, table in enumerate(items)]
    return Outcome(outcome.values, pd.concat(numbered, ignore_index=True))


def with_batch_size(measure: Measure, *, on_disk: bool = False) -> Measure:
    """Return the measure with a fixed batch size, since results depend on it slightly in low precision."""
    if "batch_tokens" not in type(measure).model_fields or measure.batch_tokens is not None:  # type: ignore[attr-defined]
        return measure
    from hfprune.models.load import default_batch_tokens

    return measure.model_copy(update={"batch_tokens": READ_AT_ONCE if on_disk else default_batch_tokens()})
