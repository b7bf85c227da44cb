"""On which documents a method is better than its reference: its effect over the dense model's entropy on each."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hfprune.effects.comparisons import DENSE_SIDE, ComparedBy, Comparison, ask, comparisons
from hfprune.effects.questions import Question
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Contrast, Outcomes, contrast
from hfprune.study.added_effects import AddedEffects


class ByDocument(AddedEffects):
    """By how much an effect changes where the dense model's output entropy is a nat higher."""

    question = "by_document"
    needs = "output_entropy"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per method with a reference and per outcome on the crops whose entropy was measured."""
        entropies = {
            (compared.model, *evidence.tasks(compared.outcome.declared.measure)): compared.sides[DENSE_SIDE]
            for compared in comparisons(evidence, ComparedBy.first_of(evidence))
            if compared.outcome.declared.kind == self.needs and DENSE_SIDE in compared.sides
        }
        others = (other for other in ComparedBy.first_of(evidence) if other.declared.kind != self.needs)

        def row(compared: Comparison, asked: Question, _: Contrast) -> Iterator[EffectRow]:
            declared = compared.outcome.declared
            if entropy := entropies.get((compared.model, *evidence.tasks(declared.measure))):
                method, reference = compared.paired(asked.left, asked.right)
                slopes = estimate(over_entropy(method, reference, entropy))
                unit = "" if declared.neutral else f"{declared.unit} per nat".strip()
                yield compared.row(self.question, *asked[1:], slopes, better="", unit=unit)

        return ask(evidence, others, Comparison.beside_references, row)


def over_entropy(method: Outcomes, reference: Outcomes, entropy: Outcomes) -> Contrast:
    """Return outcomes whose mean over items is the slope of a difference over the entropy, for each draw.

    With the slope b of a draw, weights w = (e - ē) / Σ (e - ē)², the leverage h and n items, an item with the
    residual r from the slope of all draws gets b + n·w·r / (1 - h), centred. The variance over items is thus that
    of a least-squares slope without equal variances ("HC3"), and draws and documents count as in every effect.

    Source: MacKinnon and White, "Some Heteroskedasticity-Consistent Covariance Matrix Estimators with Improved
    Finite Sample Properties", 1985.

    Raises:
        NotComparableError: the three were not measured on the same items.
    """
    (items,) = next(iter(entropy.values())).values()
    (task,) = next(iter(method.values()))
    # The entropy has weight 0, so that only its items are compared with the others'.
    difference = contrast([(1.0, method), (-1.0, reference), (0.0, {None: {task: items}})])
    centred = items.to_numpy(np.float64) - items.mean()
    n, weights = len(centred), centred / (centred @ centred)
    leverage = 1 / n + centred * weights
    common = float((difference.tasks[task] @ weights).mean())

    def weighed(outcomes: np.ndarray) -> np.ndarray:
        residuals = outcomes - outcomes.mean(-1, keepdims=True) - common * centred
        parts = n * weights * residuals / (1 - leverage)
        slopes = (outcomes @ weights)[..., None]
        return slopes + parts - parts.mean(-1, keepdims=True)

    return replace(
        difference,
        tasks={task: weighed(difference.tasks[task])},
        resampled={name: weighed(array) for name, array in difference.resampled.items()},
    )
