"""What scripts share that make tables from a study's items: their command line, and the outcomes of all cells."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotMeasuredError, Outcomes
from hfprune.errors import HfpruneError
from hfprune.results import DENSE
from hfprune.study.study import Study

# Keys of a measure that say how many items it reads, and not how.
HOW_MANY = {"tasks", "groups", "documents", "sequences"}


def write_table(doc: str | None, tables: Mapping[str, Callable[..., pd.DataFrame]], pooled: str = "") -> None:
    """Write the table that the command line names beside its study's results, as TABLE.csv, and print it.

    The table `pooled` takes more studies, whose draws are joined to those of the first (`pool`) and whose names
    follow in that of the file.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*tables])
    parser.add_argument("study", help="its name")
    if pooled:
        parser.add_argument(
            "more", nargs="*", help=f"with {pooled}: studies whose draws are joined to its own"
        )
    given = parser.parse_args()
    more = given.more if pooled else []
    if more and given.table != pooled:
        parser.error(f"{given.table} takes one study")
    try:
        folders = [Path("results") / name for name in (given.study, *more)]
        table = tables[given.table](*map(Evidence, folders))
    except HfpruneError as error:
        parser.error(str(error))
    out = folders[0] / f"{'_'.join([given.table, *more])}.csv"
    table.to_csv(out, index=False, float_format="%.5g", lineterminator="\n")
    print(table.to_markdown(index=False, floatfmt=".3g"))
    print(out)


def measured(
    evidence: Evidence, measure: str, metric: str, model: str, ratio: float
) -> dict[tuple[str, str], Outcomes]:
    """Return the outcomes of every method and recovery that was measured, and of the dense model as it is."""
    found = {}
    methods = [DENSE, *evidence.study.methods_of(model)]
    pairs = product(methods, evidence.study.recoveries_of(model))
    for method, recovery in dict.fromkeys([(DENSE, "none"), *pairs]):
        cells = evidence.cells_of(model, method, 0.0 if method == DENSE else ratio, recovery)
        try:
            found[method, recovery] = evidence.outcomes(cells, measure, metric)
        except NotMeasuredError:
            continue
    return found


def require_alike(first: Study, other: Study) -> None:
    """Check that two studies draw, prune and train alike, whatever their seeds and ratios, and read items alike.

    Raises:
        HfpruneError: they do not; names the first setting that differs.
    """
    methods, measures = (
        first.methods.keys() & other.methods.keys(),
        first.measures.keys() & other.measures.keys(),
    )
    settings = [
        {name: getattr(study, name) for name in ("calibration", "recovery", "linear", "dtype")}
        | {name: study.methods[name].model_copy(update={"label": None, "ratios": None}) for name in methods}
        | {f"measures.{name}": _reading(study, name) for name in measures}
        for study in (first, other)
    ]
    if differ := [name for name, value in settings[0].items() if settings[1][name] != value]:
        raise HfpruneError(f"the studies differ in {differ[0]}, so their draws are no sample of one thing")


def _reading(study: Study, name: str) -> tuple[str, dict[str, Any]]:
    """Return a measure's kind and settings, without those that say how many items are read."""
    measure = study.measures[name].make(name, f"measures.{name}")
    return type(measure).__name__, measure.model_dump(exclude=HOW_MANY)


def pool(studies: Sequence[Mapping[tuple[str, str], Outcomes]]) -> dict[tuple[str, str], Outcomes]:
    """Join the draws of several studies, in the cells that all have and on common items.

    Raises:
        HfpruneError: two studies have the same seed, other tasks, or no common items.
    """
    found: dict[tuple[str, str], Outcomes] = {}
    for cell in [cell for cell in studies[0] if all(cell in study for study in studies)]:
        draws = [(draw, tasks) for study in studies for draw, tasks in study[cell].items()]
        seeds = [draw for draw, _ in draws if draw is not None]
        if len({*seeds}) < len(seeds):
            raise HfpruneError("the studies share a seed, so their draws are not others")
        if any(tasks.keys() != draws[0][1].keys() for _, tasks in draws):
            raise HfpruneError("the studies measured other tasks")
        common = {
            task: reduce(pd.Index.intersection, (tasks[task].index for _, tasks in draws))
            for task in draws[0][1]
        }
        if lacking := [task for task, items in common.items() if items.empty]:
            raise HfpruneError(f"the studies have no common item of {lacking[0]}")
        found[cell] = {
            draw: {task: tasks[task].loc[items] for task, items in common.items()} for draw, tasks in draws
        }
    return found
