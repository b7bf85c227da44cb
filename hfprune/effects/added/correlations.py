"""Which cheap outcome ranks pruned models as accuracy does: rank correlations over the plans of a study."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.comparisons import ComparedBy, Comparison, comparisons
from hfprune.paper.printed import AVERAGE
from hfprune.results.effect_rows import EffectRow, row_of
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate
from hfprune.statistics.outcomes import contrast
from hfprune.study.added_effects import AddedEffects
from hfprune.study.calibration import Calibrated

RESAMPLES = 20_000  # fewer leave the second digit of an end to chance
FEWEST = 3  # plans; the ranks of two always agree or disagree wholly
Items = Mapping[str, np.ndarray]  # task → float64 [draws, documents]
Plan = tuple[float, str, Recovery]  # ratio, method and recovery


class Correlations(AddedEffects):
    """Spearman's correlation of an outcome with accuracy, over pruned models."""

    question = "rank_correlation"
    form = "{:.2f}"
    needs = "zeroshot"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per outcome and choice of plans: all of a model, and those of the ratio that has most.

        Outcomes are signed so that better goes with better. The ends are percentiles of a bootstrap over plans and
        documents; `n` counts plans.
        """
        accuracy = next(
            outcome
            for outcome in ComparedBy.all_of(evidence)
            if (outcome.declared.kind, outcome.declared.metric.name) == (self.needs, AVERAGE)
        )
        others = [outcome for outcome in ComparedBy.first_of(evidence) if outcome.name != accuracy.name]
        by_calibration: dict[tuple[str, Calibrated], dict[str, dict[Plan, Items]]] = {}
        about: dict[tuple[str, Calibrated, str], Comparison] = {}
        for compared in comparisons(evidence, [accuracy, *others]):
            name, at = compared.outcome.name, (compared.model, compared.calibrated)
            by_calibration.setdefault(at, {}).setdefault(name, {}).update(_by_plan(compared))
            about[*at, name] = compared
        for at, plans in by_calibration.items():
            exact = plans.pop(accuracy.name, {})
            for name, cheap in plans.items():
                yield from _rows(about[*at, name], cheap, exact)


def _rows(
    compared: Comparison, cheap: Mapping[Plan, Items], exact: Mapping[Plan, Items]
) -> Iterator[EffectRow]:
    # In a partial run, not all have both.
    both = [plan for plan in cheap if plan in exact]
    most = pd.Series([ratio for ratio, *_ in both]).mode()
    for at in (None, *map(float, most[:1])):
        plans = [plan for plan in both if at is None or plan[0] == at]
        if len(plans) >= FEWEST:
            ends = correlation([cheap[plan] for plan in plans], [exact[plan] for plan in plans])
            yield _row(compared, at, ends, len(plans))


def _row(
    compared: Comparison, ratio: float | None, ends: tuple[float, float, float], plans: int
) -> EffectRow:
    declared = compared.outcome.declared
    value, low, high = ends
    return row_of(
        Estimate(value, low, high, n=plans),
        float,
        left=("", ""),
        right=("", ""),
        covers="plans and items",
        question=Correlations.question,
        model=compared.model,
        calibration=compared.calibrated.calibration,
        sequences=compared.calibrated.sequences,
        ratio=ratio,
        outcome=compared.outcome.name,
        measure=declared.measure,
        metric=declared.metric.name,
        detectable=np.nan,
        better="higher",
        form=Correlations.form,
        label=declared.metric.label,
    )


def _by_plan(compared: Comparison) -> dict[Plan, Items]:
    """Return the items of an outcome, better ones higher, by pruned model."""
    sign = -1 if compared.outcome.declared.metric.better == "lower" else 1
    return {
        (compared.ratio, *side): contrast([(sign, outcomes)]).tasks
        for side, outcomes in compared.sides.items()
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
