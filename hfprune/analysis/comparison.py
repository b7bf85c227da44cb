"""Every method beside the reference method: its other settings, neurons and outputs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.evidence import ALL_SEEDS, Evidence
from hfprune.analysis.reference import differing, reference_of
from hfprune.analysis.significance import holm
from hfprune.analysis.statistics import estimate
from hfprune.results import Cell

ENDS = ("", "_low", "_high")  # suffixes of an effect's columns: its value and the ends of its interval
P_VALUES = ("_p", "_holm")  # its p-value, and that by Holm's method for its family


class MethodRow(NamedTuple):
    """A method, or the reference with another seed, beside the reference on one model at one ratio.

    The reference itself has a row if ablation was measured, with `ablation_correlation` only. Another seed has
    only the agreement on neurons: two draws of one method have no interval. `primary` is the effect that the
    study names as its primary outcome, if any. `draws` counts the seeds, and `resamples` the resampled
    calibrations that the spread over draws is from. `overlap` is the Jaccard index of the kept neurons, and
    `rank_correlation` is Spearman's of the scores. `near_cut` is the share of the disputed neurons, which only one
    of the two keeps, that lie within a tenth of the layer's width from both cuts. `ablation_correlation` is
    Spearman's of the method's scores with the effect of ablating a neuron, and `ablation_difference` that minus
    the reference's, with an interval over layers. All are means over layers and seeds.
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
    ablation_correlation: float = np.nan
    ablation_difference: float = np.nan
    ablation_difference_low: float = np.nan
    ablation_difference_high: float = np.nan


def compare(evidence: Evidence) -> pd.DataFrame:
    """Compare every method of a study, without recovery, with the reference.

    Returns:
        The columns of `MethodRow`, and for each effect of `hfprune.analysis.declarations.Declarations.effects` its
        value and the ends of its 95 % interval over draws and items together, as `<effect>`, `<effect>_low` and
        `<effect>_high`: differences in the units shown to readers (points for accuracy), or ratios. `<effect>_p`
        is the p-value of no effect, and `<effect>_holm` that p-value corrected by Holm's method for all models,
        methods and ratios of the study, and for the outcomes that `corrected_together` names with it. The best
        method comes first, by the primary outcome or else the first measured one; then come rows without it, as of
        other seeds. Numbers of missing results are left out.
    """
    rows = [row for methods in evidence.by_method() for row in _compare_at(evidence, methods)]
    effects = [effect + end for effect in evidence.effects for end in (*ENDS, *P_VALUES)]
    table = pd.DataFrame(rows, columns=[*MethodRow._fields, *effects]).astype(dict.fromkeys(effects, float))
    families = evidence.hypothesis_families()
    for family in families:
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
        if not np.isnan(row["ablation_correlation"]):
            yield row
        for cell in ours[1:]:  # the reference calibrated on another draw
            again = {"seed": cell.seed, "differs": "seed", "draws": 1, "ablation_correlation": np.nan}
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
