"""Whether an effect depends on the model, on the text of the calibration, or on the text that is read."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from hfprune.effects.comparisons import ComparedBy, Comparison, ask
from hfprune.effects.questions import Question, Side
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.combined import difference_of_independent, sum_on_common_items
from hfprune.statistics.estimates import Estimate
from hfprune.statistics.outcomes import Contrast
from hfprune.study.added_effects import AddedEffects

Weights = Mapping[tuple[str, str], float]  # (calibration, reading) → weight; all add up to zero, or to one


class Grid(NamedTuple):
    """The effects of one method on one model at one ratio, by calibration and reading."""

    compared: Comparison
    """One of its comparisons, for the names of its rows."""
    left: Side
    right: Side
    cells: Mapping[tuple[str, str], Contrast]
    """On one text each, by the names of the calibration and of the reading, which is a measure."""


class Terms(AddedEffects):
    """Differences between effects: of calibrations, readings, models, and of these together."""

    question = "term"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per term, method and first outcome that several texts have; `task` says which term.

        `calibration`: a calibration's effect less that of the first, the mean over readings. `reading`: likewise,
        the mean over calibrations. `same kind`: the effect where calibration and reading are of one kind, less
        that where they are not. `model`: the mean effect on a model less that on another at the same ratio; with
        the name of another term behind it, their interaction. Documents that two models share count as different
        documents, so that intervals of differences between models are rather too wide.
        """
        grids = [*_grids(evidence)]
        for grid in grids:
            for name, weights in _terms(evidence, grid).items():
                yield _row(grid, name, _estimate(grid, weights))
        for first, second in combinations(grids, 2):
            if _comparable(first, second):
                yield from _model_rows(evidence, first, second)


def _model_rows(evidence: Evidence, first: Grid, second: Grid) -> Iterator[EffectRow]:
    mean = dict.fromkeys(first.cells, 1 / len(first.cells))
    for name, weights in {"": mean, **_terms(evidence, first)}.items():
        effect = difference_of_independent(_estimate(first, weights), _estimate(second, weights))
        term = f"model × {name}" if name else "model"
        yield _row(first, f"{term}: less {second.compared.model}", effect)


def _grids(evidence: Evidence) -> Iterator[Grid]:
    grids: dict[tuple[object, ...], Grid] = {}
    outcomes = ComparedBy.first_of(evidence)
    for compared, asked, contrast in ask(evidence, outcomes, Comparison.beside_references, _difference):
        declared = compared.outcome.declared
        at = compared.model, compared.ratio, declared.metric.name, asked.left
        grid = grids.setdefault(at, Grid(compared, asked.left, asked.right, {}))
        place = compared.calibrated.calibration, declared.measure
        grids[at] = grid._replace(cells={**grid.cells, place: _renamed(contrast, declared.measure)})
    for grid in grids.values():
        readings = {reading for _, reading in grid.cells}
        calibrations = {calibration for calibration, _ in grid.cells}
        if len(readings) > 1 and len(grid.cells) == len(readings) * len(calibrations):
            yield grid


def _difference(
    compared: Comparison, asked: Question, difference: Contrast
) -> Iterator[tuple[Comparison, Question, Contrast]]:
    """Yield a comparison that has one text; of benchmarks there is no other reading of the same kind."""
    if len(difference.tasks) == 1:
        yield compared, asked, difference


def _renamed(contrast: Contrast, name: str) -> Contrast:
    (task,) = contrast.tasks
    documents = {name: contrast.documents[task]} if task in contrast.documents else {}
    return replace(contrast, tasks={name: contrast.tasks[task]}, documents=documents, resampled={})


def _comparable(first: Grid, second: Grid) -> bool:
    """Tell whether two grids are of different models, and of the same ratio, method and outcome."""
    a, b = first.compared, second.compared
    same = (first.left, a.ratio, a.outcome.name) == (second.left, b.ratio, b.outcome.name)
    return same and a.model != b.model and first.cells.keys() == second.cells.keys()


def _terms(evidence: Evidence, grid: Grid) -> dict[str, Weights]:
    calibrations = [*dict.fromkeys(calibration for calibration, _ in grid.cells)]
    readings = [*dict.fromkeys(reading for _, reading in grid.cells)]
    terms: dict[str, Weights] = {}
    for other in calibrations[1:]:
        pair = {other: 1 / len(readings), calibrations[0]: -1 / len(readings)}
        terms[f"calibration: {other} less {calibrations[0]}"] = {
            (calibration, reading): weight for calibration, weight in pair.items() for reading in readings
        }
    for other in readings[1:]:
        pair = {other: 1 / len(calibrations), readings[0]: -1 / len(calibrations)}
        terms[f"reading: {other} less {readings[0]}"] = {
            (calibration, reading): weight for calibration in calibrations for reading, weight in pair.items()
        }
    kind = {reading: _kind(evidence, reading, calibrations) for reading in readings}
    common = [name for name in calibrations if name in kind.values()]
    if len(common) > 1:
        places = [(name, reading) for name in common for reading in readings if kind[reading] in common]
        same = [place for place in places if kind[place[1]] == place[0]]
        terms["same kind"] = {
            place: 1 / len(same) if place in same else -1 / (len(places) - len(same)) for place in places
        }
    return terms


def _kind(evidence: Evidence, reading: str, calibrations: list[str]) -> str:
    """Return the kind of text of a reading: what its name adds to that of its class, or the first calibration."""
    kind = evidence.declared.kind(reading)
    return calibrations[0] if reading == kind else reading.removeprefix(f"{kind}_")


def _estimate(grid: Grid, weights: Weights) -> Estimate:
    """Estimate a weighted sum of a grid, whose calibrations have their own draws and share items by reading."""
    readings = [*dict.fromkeys(reading for _, reading in grid.cells)]
    parts = []
    for calibration in dict.fromkeys(calibration for calibration, _ in grid.cells):
        contrasts = [grid.cells[calibration, reading] for reading in readings]
        scales = [len(readings) * weights.get((calibration, reading), 0.0) for reading in readings]
        if any(scales):
            tasks = {
                reading: scale * contrast.tasks[reading]
                for reading, scale, contrast in zip(readings, scales, contrasts, strict=True)
            }
            documents = {name: ids for contrast in contrasts for name, ids in contrast.documents.items()}
            parts.append(replace(contrasts[0], tasks=tasks, documents=documents, accuracies=frozenset()))
    return sum_on_common_items(parts)


def _row(grid: Grid, term: str, effect: Estimate) -> EffectRow:
    compared = grid.compared
    family = f"{Terms.question}: {compared.outcome.declared.metric.name}" if effect.has_interval else ""
    row = compared.row(Terms.question, grid.left, grid.right, effect, family=family, better="")
    return row._replace(task=term, calibration="", sequences=0, base=np.nan)
