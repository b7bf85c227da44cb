"""On which documents a method is better than its reference: its effect over the dense model's entropy on each."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product

import numpy as np

from hfprune.analysis.effect_rows import BOTH, EffectRow, estimated
from hfprune.analysis.effects import ComparedBy, measured
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import Contrast, NotComparableError, Outcomes, contrast
from hfprune.analysis.questions import REFERENCE, questions
from hfprune.analysis.statistics import estimate
from hfprune.results import DENSE
from hfprune.study.added_effects import AddedEffects

ENTROPY = "output_entropy"


class ByDocument(AddedEffects):
    """By how much an effect changes where the dense model's output entropy is a nat higher."""

    question = "by_document"
    needs = ENTROPY

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield a row a method with a reference, and outcome that was measured on the crops of an entropy."""
        first = evidence.declared.first_outcomes()
        entropies = [one for one in first.values() if one.kind == ENTROPY]
        compared = [one for one in ComparedBy.all_of(evidence) if one.name in first]
        compared = [one for one in compared if one.declared.kind != ENTROPY]
        for model, outcome, entropy in product(evidence.models, compared, entropies):
            declared = outcome.declared
            if evidence.tasks(entropy.measure) != evidence.tasks(declared.measure):
                continue  # of another text
            for ratio in evidence.study.ratios_of(model):
                cells = measured(evidence, declared, model, ratio)
                of_dense = measured(evidence, entropy, model, ratio)[DENSE, "none"]
                for asked in questions(evidence.study, model, cells):
                    if asked.name != REFERENCE:
                        continue
                    with suppress(NotComparableError):
                        slope = over_entropy(cells[asked.left], cells[asked.right], of_dense)
                        it = estimate(slope)
                        yield EffectRow(
                            question=self.question,
                            model=model,
                            ratio=ratio,
                            method=asked.left[0],
                            recovery=asked.left[1],
                            against=asked.right[0],
                            against_recovery=asked.right[1],
                            outcome=outcome.name,
                            measure=declared.measure,
                            metric=declared.metric.name,
                            **estimated(it, declared.shown),
                            p=it.p_value(),
                            family=f"{self.question}: {outcome.family}" if it.known else "",
                            covers=BOTH if it.known else "",
                            neutral=declared.neutral,
                            unit="" if declared.neutral else f"{declared.unit} per nat".strip(),
                        )


def over_entropy(method: Outcomes, reference: Outcomes, entropy: Outcomes) -> Contrast:
    """Return outcomes whose mean over items is the slope of a difference over the entropy, for each draw.

    With the slope b of a draw, weights w = (e - ē) / Σ (e - ē)², the leverage h and n items, an item with the
    residual r from the slope of all draws has b + n·w·r / (1 - h), centred. So the variance over items is that
    of a least-squares slope without equal variances ("HC3"), and draws and documents count as in every effect.

    Source: MacKinnon and White, "Some Heteroskedasticity-Consistent Covariance Matrix Estimators with Improved
    Finite Sample Properties", 1985.

    Raises:
        NotComparableError: the three were not measured on the same items.
    """
    (items,) = next(iter(entropy.values())).values()
    (task,) = next(iter(method.values()))
    # The entropy enters with weight 0, by which it must have the same items.
    found = contrast([(1.0, method), (-1.0, reference), (0.0, {None: {task: items}})])
    centred = items.to_numpy(np.float64) - items.mean()
    n, weights = len(centred), centred / (centred @ centred)
    leverage = 1 / n + centred * weights
    common = float((found.tasks[task] @ weights).mean())

    def weighed(outcomes: np.ndarray) -> np.ndarray:
        residuals = outcomes - outcomes.mean(-1, keepdims=True) - common * centred
        parts = n * weights * residuals / (1 - leverage)
        slopes = (outcomes @ weights)[..., None]
        return slopes + parts - parts.mean(-1, keepdims=True)

    return replace(
        found,
        tasks={task: weighed(found.tasks[task])},
        resampled={name: weighed(array) for name, array in found.resampled.items()},
    )
