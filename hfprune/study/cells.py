"""The cells of a study, and the measures of each."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

from hfprune.cells import DENSE, UNCALIBRATED, Cell
from hfprune.cells.recovery import Recovery
from hfprune.criteria import CRITERIA, WeightCriterion
from hfprune.measurement import Measure
from hfprune.study.calibration import Calibrated
from hfprune.study.study import Study


def cells(name: str, study: Study) -> Iterator[Cell]:
    """Yield every cell of a study.

    The dense model, which no calibration changes, has one cell per model. The dense model with an adapter, the
    control of recovered models, has one per draw. The recovery section decides which pruned cells get adapters.
    """
    for model in study.models:
        dense = Cell(name, model, DENSE, UNCALIBRATED, 0, 0.0, study.draws[0], Recovery.NONE)
        yield dense
        for draw in study.draws if study.trains(model) else ():
            yield replace(dense, draw=draw, recovery=Recovery.LORA)
        for method, ratio in product(study.methods_of(model), study.ratios_of(model)):
            if ratio not in (study.methods[method].ratios or [ratio]):
                continue
            for calibrated in study.calibrated(model, method):
                draws = study.draws_of(calibrated)
                for draw, recovery in product(draws, study.recoveries_of(model)):
                    if _recovers(study, method, ratio, recovery):
                        yield Cell(name, model, method, *calibrated, ratio, draw, recovery)


def _recovers(study: Study, method: str, ratio: float, recovery: Recovery) -> bool:
    """Tell whether a method's cells at a ratio get a recovery."""
    settings = study.methods[method]
    if settings.model or (recovery.reconstructs and settings.baseline):
        return recovery is Recovery.NONE  # a whole model has no plan, and a baseline may have none
    return not recovery.trains or bool(study.recovery and study.recovery.covers(method, ratio))


def scorings(name: str, study: Study) -> Iterator[Cell]:
    """Yield a cell without a ratio for every scoring of a model by a criterion and draw, one process each.

    There is one per calibration, since the number of sequences does not change the cost of a sequence.
    """
    for model in study.models:
        for method, draw in product(study.methods_of(model), study.draws):
            if not study.methods[method].unscored:
                calibrations = study.calibrated(model, method)
                for calibrated in {last.calibration: last for last in calibrations}.values():
                    yield Cell(name, model, method, *calibrated, None, draw, Recovery.NONE)


def compared_within(study: Study, calibrated: Calibrated, cell: Cell) -> bool:
    """Tell whether a cell is compared with cells of this calibration and number of sequences.

    The dense model always is; a method that reads no sequences is compared with those that read the most.
    """
    if cell.method == DENSE:
        return True
    if cell.calibration != calibrated.calibration:
        return False
    if cell.sequences:
        return cell.sequences == calibrated.sequences
    return calibrated == study.largest(calibrated.calibration)


def is_of_weights(study: Study, method: str, recovery: Recovery) -> bool:
    """Tell whether a method's model follows from the dense weights alone, and so is the same for every sample."""
    settings = study.methods[method]
    if settings.baseline or settings.model or settings.bias or recovery is not Recovery.NONE:
        return False
    criterion = CRITERIA.load(settings.criterion or method)
    return issubclass(criterion, WeightCriterion) and not criterion.seeded


def solution(study: Study, cell: Cell) -> Recovery:
    """Return what is solved for a cell's model after its plan: `linear`, `bias` or `none`.

    A linear recovery replaces the bias of a method.
    """
    if cell.recovery.reconstructs:
        return Recovery.LINEAR
    biased = cell.method != DENSE and study.methods[cell.method].bias
    return Recovery.BIAS if biased else Recovery.NONE


def measures_of(study: Study, measures: dict[str, Measure], cell: Cell) -> list[str]:
    """Return the names of the study's measures for a cell that `cells` or `scorings` yields."""
    is_dense = cell.method == DENSE and cell.recovery is Recovery.NONE

    def fits(measure: Measure) -> bool:
        if (measure.needs == "criterion") != (cell.ratio is None):
            return False
        if cell.recovery is not Recovery.NONE and not measure.recovered:
            return False
        if measure.needs == "beside":
            return not is_dense  # its distance to itself is always 0
        return is_dense or measure.needs != "dense"

    return [
        name
        for name, measure in measures.items()
        if study.measures[name].covers(cell.method, cell.ratio) and fits(measure)
    ]


def together(name: str, study: Study, measures: dict[str, Measure]) -> dict[tuple[str, ...], list[Cell]]:
    """Return the measures that one job takes of a cell → the cells with these measures.

    All measures of a cell are one job, except those that run alone on the machine.
    """
    by_measures: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells(name, study):
        wanted = sorted(measures_of(study, measures, cell))
        shared = tuple(measure for measure in wanted if not measures[measure].exclusive)
        alone = [(measure,) for measure in wanted if measures[measure].exclusive]
        for names in filter(None, [shared, *alone]):
            by_measures.setdefault(names, []).append(cell)
    return by_measures


def batches(cells: Iterable[Cell], study: Study, size: int) -> Iterator[list[Cell]]:
    """Yield the cells that one process measures in turn: at most `size`, of one model.

    Cells of a process have the same recovery, and all belong to one baseline or to criteria, so that a failing
    baseline or recovery holds up no other cell.
    """
    by_needs: dict[tuple[str, Recovery, Recovery, str | None], list[Cell]] = {}
    for cell in cells:
        method = study.methods.get(cell.method)
        needs = cell.recovery, solution(study, cell), method.baseline if method else None
        by_needs.setdefault((cell.model, *needs), []).append(cell)
    for group in by_needs.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]
