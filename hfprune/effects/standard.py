"""Each method beside its reference, the dense model, and itself without recovery: effects, and a test's rows."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from hfprune.effects.comparisons import ComparedBy, Comparison, ask, mean
from hfprune.effects.questions import REFERENCE, TO_DENSE, Question
from hfprune.results.effect_rows import BOTH, ITEMS_ALONE, EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Contrast
from hfprune.study.added_effects import DESCRIPTIONS, AddedEffects
from hfprune.study.reference import differing


def effects(evidence: Evidence) -> list[EffectRow]:
    """Return the effects of a study, except those of the paper's claims.

    Rows with the same question about one outcome, or about outcomes that the study corrects together, are a
    family for Holm's method, over all models, methods, ratios and recoveries (`Comparison`). Questions about cells
    that were not measured have no row. Changes against the dense model have rows by task, too.
    """
    outcomes = [part for whole in ComparedBy.all_of(evidence) for part in (whole, *whole.by_task(evidence))]
    return [*ask(evidence, outcomes, _questions, _row)]


def _questions(compared: Comparison) -> Iterator[Question]:
    """Yield all questions on whole outcomes, and on those of single tasks the one about the dense model."""
    for asked in compared.questions():
        if not compared.outcome.task or asked.name == TO_DENSE:
            yield asked


def _row(compared: Comparison, asked: Question, difference: Contrast) -> Iterator[EffectRow]:
    to_dense = asked.name == TO_DENSE
    effect, covers = over_draws_or_items(difference) if to_dense else (estimate(difference), None)
    methods = asked.left[0], asked.right[0]
    differs = differing(compared.evidence.study, *methods) if asked.name == REFERENCE else []
    base = compared.outcome.declared.shown(mean(compared.paired(asked.left, asked.right)[1]))
    yield compared.row(*asked, effect, covers, base=base, differs=", ".join(differs))


def rows_of(test: AddedEffects, evidence: Evidence) -> Iterator[EffectRow]:
    """Yield a test's rows: each method beside its reference, on the first outcome of every measure it needs."""
    first = ComparedBy.first_of(evidence)
    needed = (outcome for outcome in first if test.needs in ("", outcome.declared.kind, *DESCRIPTIONS))

    def row(compared: Comparison, asked: Question, difference: Contrast) -> Iterator[EffectRow]:
        if numbers := test.test(difference):
            fields: dict[str, Any] = dict.fromkeys(("low", "high", "detectable"), np.nan)
            fields |= {"neutral": test.neutral, "better": test.better, "unit": test.unit, "form": test.form}
            fields |= {"family": compared.family(test.question), **numbers}
            yield compared.row(test.question, *asked[1:], estimate(difference), ITEMS_ALONE, **fields)

    return ask(evidence, needed, Comparison.beside_references, row)


def over_draws_or_items(difference: Contrast) -> tuple[Estimate, str]:
    """Estimate what plans have lost, over draws and items or, with too few draws, over items alone.

    Returns:
        The estimate, and what its interval covers.
    """
    effect = estimate(difference)
    if effect.has_interval:
        return effect, BOTH
    alone = estimate(replace(difference, fixed=True))
    return replace(alone, draws=effect.draws), ITEMS_ALONE if alone.has_interval else ""
