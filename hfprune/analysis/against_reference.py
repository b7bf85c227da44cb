"""What `hfprune comparison` writes: methods beside their reference, their spread over draws, and their losses."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.evidence import ALL_SEEDS, Evidence
from hfprune.analysis.outcomes import Contrast, NotComparableError
from hfprune.analysis.reference import differing, reference_of
from hfprune.analysis.statistics import LEVEL, RESAMPLING, estimate, holm, resampling_dof
from hfprune.results import DENSE, Cell

ENDS = ("", "_low", "_high")  # suffixes of an effect's columns: its value and the ends of its interval
P_VALUES = ("_p", "_holm")  # its p-value, and that by Holm's method for its family


class MethodRow(NamedTuple):
    """A method, or the reference with another seed, beside the reference on one model at one ratio.

    Another seed has only the agreement on neurons: two draws of one method have no interval. `primary` is the
    effect that the study names as its primary outcome, if any. `draws` counts the seeds, and `resamples` the
    resampled calibrations that the spread over draws is from. `overlap` is the Jaccard index of the kept neurons,
    and `rank_correlation` is Spearman's of the scores. `near_cut` is the share of the disputed neurons, which only
    one of the two keeps, that lie within a tenth of the layer's width from both cuts. All are means over layers
    and seeds.
    """

    model: str
    ratio: float
    method: str
    reference: str
    primary: str
    seed: int | None = None
    differs: str = ""
    draws: int = 1
    resamples: int = 0
    overlap: float = np.nan
    rank_correlation: float = np.nan
    near_cut: float = np.nan


def compare(evidence: Evidence) -> pd.DataFrame:
    """Compare every method of a study, without recovery, with the reference.

    Beside the columns of `MethodRow` there are for each effect (`Declarations.effects`) its value and the ends
    of its 95 % interval over draws and items together, as `<effect>`, `<effect>_low` and `<effect>_high`, in the
    units shown to readers; `<effect>_p`, and `<effect>_holm`, corrected for all models, methods and ratios of the
    study, and for the outcomes that `corrected_together` names with it. The best method comes first, by the
    primary outcome or else the first measured one.
    """
    rows = [row for methods in evidence.by_method() for row in _compare_at(evidence, methods)]
    effects = [effect + end for effect in evidence.effects for end in (*ENDS, *P_VALUES)]
    table = pd.DataFrame(rows, columns=[*MethodRow._fields, *effects]).astype(dict.fromkeys(effects, float))
    for family in (families := evidence.hypothesis_families()):
        p_values = table[[f"{effect}_p" for effect in family]].to_numpy()
        table[[f"{effect}_holm" for effect in family]] = np.reshape(holm(p_values.ravel()), p_values.shape)
    if several := ["+".join(family) for family in families if len(family) > 1]:
        table["corrected_together"] = ";".join(several)
    return _best_first(table, evidence)


def _compare_at(evidence: Evidence, methods: dict[str, list[Cell]]) -> Iterator[dict[str, Any]]:
    for method, ours in methods.items():
        reference = reference_of(evidence.study, method)
        if reference not in methods:  # recovered, or not applicable
            continue
        row = MethodRow(ours[0].model, ours[0].ratio or 0.0, method, reference, evidence.primary)._asdict()
        row["draws"] = len(ours)
        at = row["model"], row["ratio"], method
        row |= evidence.neurons.get((*at, ALL_SEEDS), {})
        if reference != method:
            differs = {"differs": ", ".join(differing(evidence.study, method, reference))}
            yield row | differs | _effects(evidence, ours, methods[reference])
            continue
        for cell in ours[1:]:  # the reference calibrated on another draw
            again = {"seed": cell.seed, "differs": "seed", "draws": 1}
            yield row | again | evidence.neurons.get((*at, cell.seed), {})


def _effects(evidence: Evidence, ours: list[Cell], theirs: list[Cell]) -> dict[str, Any]:
    columns: dict[str, Any] = {"resamples": 0}
    for effect, declared, difference in evidence.differences(ours, theirs):
        found = estimate(difference)
        columns["resamples"] = max(columns["resamples"], found.resamples)
        shown = (declared.shown(x) for x in (found.value, found.low, found.high))
        columns |= {effect + end: x for end, x in zip(ENDS, shown, strict=True)}
        columns[f"{effect}_p"] = found.p_value()
    return columns


def _best_first(table: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    wanted = [evidence.primary] if evidence.primary else evidence.effects
    order = table.assign(method=table["method"].map([*evidence.study.methods].index), penalty=np.nan)
    if column := next((name for name in wanted if table[name].notna().any()), ""):
        higher = evidence.effects[column].metric.better == "higher"
        order["penalty"] = -table[column] if higher else table[column]
    order = order.sort_values(["model", "ratio", "penalty", "method", "seed"])
    return table.loc[order.index].reset_index(drop=True)


class DrawsRow(NamedTuple):
    """The standard deviation of an outcome over draws of the calibration, on the same items.

    `against` is the reference if the outcome is a method's difference from it, or empty. `seeds_sd` is the
    standard deviation over the seeds' draws, `resamples_sd` that over resampled calibrations, the root mean
    square over the seeds, corrected for the number of folds. `quotient` is the first divided by the second, with
    its 95 % interval by the F distribution: a resampling that tells what another draw would change has 1 inside.
    """

    model: str
    ratio: float
    method: str
    against: str
    effect: str
    seeds: int
    resamples: int
    seeds_sd: float
    resamples_sd: float
    quotient: float
    low: float
    high: float


def spreads(evidence: Evidence) -> pd.DataFrame:
    """Return the spread over draws of every method's outcomes, and of its differences from the reference.

    Outcomes are those that compare two methods (`Declarations.effects`); of a ratio, the logarithm.
    """
    rows = []
    for methods in evidence.by_method():
        for method, cells in methods.items():
            reference = reference_of(evidence.study, method)
            others = [reference] if reference in methods and reference != method else []
            for against in ("", *others):
                theirs = [methods[against]] if against else []
                for effect, _, difference in evidence.differences(cells, *theirs):
                    of = {"model": cells[0].model, "ratio": cells[0].ratio, "method": method}
                    of |= {"against": against, "effect": effect}
                    if found := _spread(difference):
                        rows.append(of | found)
    return pd.DataFrame(rows, columns=DrawsRow._fields)


def _spread(found: Contrast) -> dict[str, Any]:
    from scipy.stats import f

    means = np.mean([array.mean(-1) for array in found.tasks.values()], axis=0)
    seeds, resamples = len(means), 0
    real = float(means.std(ddof=1)) if seeds > 1 else np.nan
    resampled = np.nan
    if found.resampled:
        again = np.mean([array.mean(-1) for array in found.resampled.values()], axis=0)
        resamples = again.shape[1]
        resampled = float(np.sqrt(again.var(axis=1, ddof=1).mean() * RESAMPLING))
    if np.isnan([real, resampled]).all():
        return {}
    quotient = real / resampled if resampled else np.nan
    levels = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    ends = np.sqrt(f.ppf(levels, seeds - 1, resampling_dof(seeds, resamples))) if seeds > 1 else [np.nan] * 2
    return {
        "seeds": seeds,
        "resamples": resamples,
        "seeds_sd": real,
        "resamples_sd": resampled,
        "quotient": quotient,
        # F of the larger quotient bounds it from below.
        "low": quotient / ends[1],
        "high": quotient / ends[0],
    }


class LostRow(NamedTuple):
    """The change of one outcome of one task by pruning, without recovery, on the same items.

    `dense` is the dense model's outcome in the units shown to readers. `change` is the pruned model's minus that,
    or, if the metric is compared by ratios, the one divided by the other; `low` and `high` are the ends of its
    95 % interval. `covers` says what the interval stands for: other items alone, for this plan, where one draw of
    the calibration was measured without resamples, and else other draws as well.
    """

    model: str
    ratio: float
    method: str
    measure: str
    task: str
    metric: str
    dense: float
    change: float
    low: float
    high: float
    n: int
    covers: str


def lost(evidence: Evidence) -> pd.DataFrame:
    rows = []
    cells = [pruned for methods in evidence.by_method() for pruned in methods.values()]
    for pruned, declared in product(cells, evidence.effects.values()):
        for task in evidence.tasks(declared.measure):
            with suppress(NotComparableError):
                rows.append(_lost_row(evidence, declared, task, pruned))
    return pd.DataFrame(rows, columns=LostRow._fields)


def _lost_row(evidence: Evidence, declared: Declaration, task: str, pruned: list[Cell]) -> LostRow:
    cell, dense = pruned[0], evidence.cells_of(pruned[0].model, DENSE, 0.0)
    before = evidence.outcomes(dense, declared.measure, declared.metric.name, [task])
    difference = evidence.difference(declared, pruned, dense, tasks=[task])
    found, covers = estimate(difference), "draws and items"
    if found.spread is None:
        found, covers = estimate(replace(difference, fixed=True)), "items"
    return LostRow(
        model=cell.model,
        ratio=cell.ratio or 0.0,
        method=cell.method,
        measure=declared.measure,
        task=task,
        metric=declared.metric.name,
        dense=declared.shown(float(np.mean([items.mean() for items in before[None].values()]))),
        change=declared.shown(found.value),
        low=declared.shown(found.low),
        high=declared.shown(found.high),
        n=found.n,
        covers=covers,
    )
