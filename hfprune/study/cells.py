"""The cells of a study, and what is taken of each."""

from collections.abc import Iterable, Iterator
from itertools import product

from hfprune.measurement import Measure
from hfprune.results import DENSE, Cell
from hfprune.study.study import Study


def cells(name: str, study: Study) -> Iterator[Cell]:
    """Yield every cell of a study.

    The seed of a cell is the number of its draw. The dense model, which no draw changes, comes once per model. The
    dense model with an adapter, the control of the pruned ones, comes once per seed. The recovery section decides
    which pruned cells get adapters.
    """
    for model in study.models:
        yield Cell(name, model, DENSE, 0.0, study.seeds[0], "none")
        for seed in study.seeds if study.trains(model) else ():
            yield Cell(name, model, DENSE, 0.0, seed, "lora")
        for method, ratio in product(study.methods_of(model), study.ratios_of(model)):
            if ratio not in (study.methods[method].ratios or [ratio]):
                continue
            for seed, recovery in product(study.draws_of(model, method), study.recoveries_of(model)):
                if recovery.startswith("linear") and study.methods[method].baseline:
                    continue  # which may have no plan
                if "lora" not in recovery or (study.recovery and study.recovery.covers(method, ratio)):
                    yield Cell(name, model, method, ratio, seed, recovery)


def scorings(name: str, study: Study) -> Iterator[Cell]:
    """Yield a cell without a ratio for the scoring of each model by each criterion and seed, each a process."""
    for model in study.models:
        for method, seed in product(study.methods_of(model), study.seeds):
            if study.methods[method].baseline is None:
                yield Cell(name, model, method, None, seed, "none")


def solves(study: Study, cell: Cell) -> str:
    """Return the solution that a cell's model takes after its plan: `linear`, `bias`, or "" for none.

    A solution that is a recovery replaces the bias that a method asks for.
    """
    if cell.recovery.startswith("linear"):
        return "linear"
    return "bias" if cell.method != DENSE and study.methods[cell.method].bias else ""


def measures_of(study: Study, measures: dict[str, Measure], cell: Cell) -> list[str]:
    """Return those of the study's measures that are taken of a cell, which `cells` or `scorings` yields."""
    changed = cell.method != DENSE or cell.recovery != "none"
    return [
        name
        for name, measure in measures.items()
        if (measure.needs == "criterion") == (cell.ratio is None)
        and study.measures[name].covers(cell.method, cell.ratio)
        and (measure.recovered or cell.recovery == "none")
        # The dense model's distance to itself is always 0.
        and {"beside": changed, "dense": not changed}.get(measure.needs, True)
    ]


def together(name: str, study: Study, measures: dict[str, Measure]) -> dict[tuple[str, ...], list[Cell]]:
    """Return the measures that one job takes of a cell, and the cells where it takes these.

    All that is measured of a cell is one job, but for measures that run alone on the machine.
    """
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells(name, study):
        wanted = sorted(measures_of(study, measures, cell))
        alone = [each for each in wanted if measures[each].exclusive]
        for names in [[each for each in wanted if each not in alone], *([each] for each in alone)]:
            if names:
                found.setdefault(tuple(names), []).append(cell)
    return found


def batches(cells: Iterable[Cell], study: Study, size: int) -> Iterator[list[Cell]]:
    """Yield the cells that one process measures, one after another: at most `size`, of one model.

    They need the same: all are recovered or none, and all are of one baseline or of criteria, so that a baseline
    or a recovery that fails keeps no other cell waiting.
    """
    alike: dict[tuple[str, str, str, str | None], list[Cell]] = {}
    for cell in cells:
        method = study.methods.get(cell.method)
        needs = cell.recovery, solves(study, cell), method.baseline if method else None
        alike.setdefault((cell.model, *needs), []).append(cell)
    for found in alike.values():
        for start in range(0, len(found), size):
            yield found[start : start + size]
