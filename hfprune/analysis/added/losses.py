"""Losses relative to entropy's: how much of what pruning by entropy adds to log perplexity another plan adds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import product

import numpy as np
from scipy.optimize import brentq

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.effect_rows import BOTH, EffectRow
from hfprune.analysis.effects import measured
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotComparableError, Outcomes, contrast
from hfprune.analysis.questions import Side
from hfprune.analysis.reference import PAPERS
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.results import DENSE
from hfprune.study.added_effects import AddedEffects

FARTHEST = 100.0  # from the value, where an end of the interval is looked for


class Losses(AddedEffects):
    """The added log perplexity of one side per that of the other."""

    question = "loss"
    form = "{:.2f}"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield a row a pruned cell and text: its loss per entropy's, without recovery and with the same one."""
        outcomes = evidence.declared.first_outcomes().items()
        logarithmic = [(name, row) for name, row in outcomes if row.metric.effect == "ratio"]
        for model, (name, declared) in product(evidence.models, logarithmic):
            for ratio in evidence.study.ratios_of(model):
                cells = measured(evidence, declared, model, ratio)
                # In a partial run, cells have different seeds, or none.
                for left, right in _pairs(cells) if (DENSE, "none") in cells else ():
                    with suppress(NotComparableError):
                        yield _row(model, ratio, (name, declared), cells, left, right)


def _row(
    model: str,
    ratio: float,
    outcome: tuple[str, Declaration],
    cells: Mapping[Side, Outcomes],
    left: Side,
    right: Side,
) -> EffectRow:
    name, declared = outcome
    value, low, high = loss_ratio(cells[right], cells[DENSE, "none"], cells[left])
    it = estimate(contrast([(1.0, cells[left]), (-1.0, cells[right])]))
    return EffectRow(
        question=Losses.question,
        model=model,
        ratio=ratio,
        method=left[0],
        recovery=left[1],
        against=right[0],
        against_recovery=right[1],
        outcome=name,
        measure=declared.measure,
        metric=declared.metric.name,
        value=value,
        low=low,
        high=high,
        draws=it.draws,
        resamples=it.resamples,
        n=it.n,
        covers="" if np.isnan(low) else BOTH,
        neutral=1.0,
        better="lower",
    )


def _pairs(cells: Mapping[Side, Outcomes]) -> Iterator[tuple[Side, Side]]:
    for left, recovery in product(cells, ("none", "linear")):
        right = PAPERS, recovery
        if right in cells and left != right and left[0] != DENSE and recovery in ("none", left[1]):
            yield left, right


def loss_ratio(paper: Outcomes, dense: Outcomes, other: Outcomes) -> tuple[float, float, float]:
    """Return a cell's loss per that of another cell, with its 95 % interval (Fieller's).

    A ratio ρ is within it where the interval of (other - dense) - ρ·(paper - dense) holds 0. The ends are NaN
    where the other cell's loss is not significantly above zero.
    """

    def of(ratio: float) -> Estimate:
        return estimate(contrast([(1.0, other), (ratio - 1, dense), (-ratio, paper)]))

    value = of(0).value / (of(0).value - of(1).value)
    if not estimate(contrast([(1, paper), (-1, dense)])).low > 0:
        return value, np.nan, np.nan
    return value, _root(lambda x: of(x).low, value, -1), _root(lambda x: of(x).high, value, 1)


def _root(end: Callable[[float], float], value: float, side: int) -> float:
    """Return where an end of the interval crosses 0, at one side of the value."""
    step = 0.1
    while not end(value + side * step) * end(value) < 0:
        step *= 2
        if step > FARTHEST:
            return float("nan")
    return float(brentq(end, *sorted((value, value + side * step)), xtol=1e-5))
