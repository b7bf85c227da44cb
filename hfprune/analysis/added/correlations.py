"""Which cheap outcome ranks pruned models as accuracy does: rank correlations over the plans of a study."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from hfprune.analysis.effect_rows import EffectRow
from hfprune.analysis.effects import measured
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import contrast
from hfprune.results import DENSE
from hfprune.study.added_effects import AddedEffects

ACCURACY = "points"
RESAMPLES = 20_000  # fewer leave the second digit of an end to chance
Items = Mapping[str, np.ndarray]  # task → float64 [draws, documents]


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
        for model in evidence.models:
            found = _by_outcome(evidence, model)
            most = pd.Series([ratio for ratio, _ in found[ACCURACY]]).mode()[0]
            for (name, plans), at in product(found.items(), (None, float(most))):
                cells = [cell for cell in plans if at is None or cell[0] == at]
                if name != ACCURACY:
                    sides = ([found[one][cell] for cell in cells] for one in (name, ACCURACY))
                    value, low, high = correlation(*sides)
                    declared = evidence.named_outcomes[name]
                    yield EffectRow(
                        question=self.question,
                        model=model,
                        ratio=at,
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
                        n=len(cells),
                        covers="plans and items",
                        better="higher",
                    )


def _by_outcome(evidence: Evidence, model: str) -> dict[str, dict[tuple[float, str], Items]]:
    """Return the items of every outcome, better ones higher, by ratio and method."""
    found: dict[str, dict[tuple[float, str], Items]] = {}
    for name, declared in evidence.declared.first_outcomes().items():
        sign = -1 if declared.metric.better == "lower" else 1
        found[name] = {
            (ratio, method): contrast([(sign, outcomes)]).tasks
            for ratio in evidence.study.ratios_of(model)
            for (method, _), outcomes in measured(evidence, declared, model, ratio).items()
            if method != DENSE
        }
    return found


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
