"""Which cheap outcome ranks pruned models as accuracy does: rank correlations over the plans of a study."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.effect_rows import EffectRow
from hfprune.analysis.effects import measured
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import contrast
from hfprune.paper.printed import AVERAGE
from hfprune.results import DENSE
from hfprune.study.added_effects import AddedEffects

RESAMPLES = 20_000  # fewer leave the second digit of an end to chance
FEWEST = 3  # plans; the ranks of two always agree or disagree wholly
Items = Mapping[str, np.ndarray]  # task → float64 [draws, documents]
Plan = tuple[float, str, str]  # ratio, method and recovery


class Correlations(AddedEffects):
    """Spearman's correlation of an outcome with accuracy, over pruned models."""

    question = "rank_correlation"
    form = "{:.2f}"
    needs = "zeroshot"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield a row an outcome and choice of plans: all of a model, and those of the ratio that has most.

        Outcomes are signed so that better goes with better. The ends are percentiles of a bootstrap over plans and
        documents; `n` counts plans.
        """
        outcomes, every = evidence.declared.first_outcomes(), evidence.declared.outcomes()
        accuracy = next(
            name for name, it in every.items() if (it.kind, it.metric.name) == (self.needs, AVERAGE)
        )
        for model in evidence.models:
            exact = _by_plan(evidence, every[accuracy], model)
            for name in (name for name in outcomes if name != accuracy):
                cheap = _by_plan(evidence, outcomes[name], model)
                # In a partial run, not all have both.
                both = [plan for plan in cheap if plan in exact]
                most = pd.Series([ratio for ratio, *_ in both]).mode()
                for at in (None, *map(float, most[:1])):
                    plans = [plan for plan in both if at is None or plan[0] == at]
                    if len(plans) >= FEWEST:
                        ends = correlation([cheap[plan] for plan in plans], [exact[plan] for plan in plans])
                        yield _row(model, at, (name, outcomes[name]), ends, len(plans))


def _row(
    model: str,
    ratio: float | None,
    outcome: tuple[str, Declaration],
    ends: tuple[float, float, float],
    plans: int,
) -> EffectRow:
    name, declared = outcome
    value, low, high = ends
    return EffectRow(
        question=Correlations.question,
        model=model,
        ratio=ratio,
        method="",
        recovery="",
        against="",
        against_recovery="",
        outcome=name,
        measure=declared.measure,
        metric=declared.metric.name,
        value=value,
        low=low,
        high=high,
        n=plans,
        covers="plans and items",
        better="higher",
    )


def _by_plan(evidence: Evidence, declared: Declaration, model: str) -> dict[Plan, Items]:
    """Return the items of an outcome, better ones higher, by pruned model."""
    sign = -1 if declared.metric.better == "lower" else 1
    return {
        (ratio, *side): contrast([(sign, outcomes)]).tasks
        for ratio in evidence.study.ratios_of(model)
        for side, outcomes in measured(evidence, declared, model, ratio).items()
        if side[0] != DENSE
    }


def correlation(cheap: Sequence[Items], accuracy: Sequence[Items]) -> tuple[float, float, float]:
    """Return Spearman's correlation of two outcomes over cells, with the ends of its 95 % interval.

    Cells and documents are drawn again together, so the noise that a cell's outcome has of its documents counts
    twice: the interval covers the correlation on so many documents more often than it says. Noise draws
    correlations towards zero, so that of outcomes without noise may lie outside.
    """
    rng = np.random.default_rng(0)
    means = (
        np.array([np.mean([*map(np.mean, cell.values())]) for cell in side]) for side in (cheap, accuracy)
    )
    sides = [_resampled(side, rng) for side in (cheap, accuracy)]
    chosen = rng.integers(len(cheap), size=(RESAMPLES, len(cheap)))
    rows = np.arange(RESAMPLES)[:, None]
    low, high = np.nanpercentile(_spearman(*(side[rows, chosen] for side in sides)), (2.5, 97.5))
    return float(_spearman(*means)), float(low), float(high)


def _resampled(items: Sequence[Items], rng: np.random.Generator) -> np.ndarray:
    """Return means of cells over resampled documents: [resamples, cells]."""
    found = []
    for task, outcomes in items[0].items():
        documents = outcomes.shape[1]
        counts = rng.multinomial(documents, [1 / documents] * documents, RESAMPLES)
        found.append(counts @ np.stack([cell[task].mean(0) for cell in items], axis=1) / documents)
    return np.mean(found, axis=0)


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's correlations along the last axis; NaN where one side has a single rank."""
    a, b = (rankdata(side, axis=-1) - (side.shape[-1] + 1) / 2 for side in (first, second))
    size = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / size
