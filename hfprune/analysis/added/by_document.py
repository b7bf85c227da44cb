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
from hfprune.analysis.questions import REFERENCE, Question, questions
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.results import DENSE
from hfprune.study.added_effects import AddedEffects

ENTROPY = "output_entropy"


class ByDocument(AddedEffects):
    """By how much an effect changes where the dense model's output entropy is a nat higher."""

    question = "by_document"
    needs = ENTROPY

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield a row a method with a reference, and outcome that was measured on the crops of an entropy."""
        return slopes_over_entropy(evidence, evidence)


def slopes_over_entropy(evidence: Evidence, entropies: Evidence) -> Iterator[EffectRow]:
    """Yield the slopes of a study's effects over the dense models' entropies, which another study may have."""
    measured_entropies = [one for one in entropies.declared.first_outcomes().values() if one.kind == ENTROPY]
    first = evidence.declared.first_outcomes()
    compared = [
        one for one in ComparedBy.all_of(evidence) if one.name in first and one.declared.kind != ENTROPY
    ]
    for model, outcome, entropy in product(evidence.models, compared, measured_entropies):
        if entropies.tasks(entropy.measure) != evidence.tasks(outcome.declared.measure):
            continue  # of another text
        of_dense = measured(entropies, entropy, model, 0.0).get((DENSE, "none"))
        if of_dense is None:
            continue  # in a partial run
        for ratio in evidence.study.ratios_of(model):
            cells = measured(evidence, outcome.declared, model, ratio)
            for asked in questions(evidence.study, model, cells):
                if asked.name == REFERENCE:
                    with suppress(NotComparableError):
                        slope = estimate(over_entropy(cells[asked.left], cells[asked.right], of_dense))
                        yield _row(model, ratio, asked, outcome, slope)


def _row(model: str, ratio: float, asked: Question, outcome: ComparedBy, it: Estimate) -> EffectRow:
    declared, question = outcome.declared, ByDocument.question
    return EffectRow(
        question=question,
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
        family=f"{question}: {outcome.family}" if it.known else "",
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
