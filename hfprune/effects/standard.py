"""The effects of every study: each method beside its reference, the dense model, and itself without recovery."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from hfprune.effects.comparisons import ComparedBy, Comparison, comparisons, mean
from hfprune.effects.questions import REFERENCE, TO_DENSE, Question, questions
from hfprune.results.effect_rows import BOTH, ITEMS_ALONE, EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Contrast, NotComparableError
from hfprune.study.reference import differing


def effects(evidence: Evidence) -> list[EffectRow]:
    """Return the effects of a study, but for those of the paper's claims.

    Rows with the same question about one outcome, or about outcomes that the study corrects together, are a
    family for Holm's method, over all models, methods, ratios and recoveries (`Comparison`). Questions about cells
    that were not measured have no row. Changes against the dense model also stand by task.
    """
    outcomes = [part for whole in ComparedBy.all_of(evidence) for part in (whole, *whole.by_task(evidence))]
    return [row for compared in comparisons(evidence, outcomes) for row in _rows(compared)]


def _rows(compared: Comparison) -> Iterator[EffectRow]:
    study = compared.evidence.study
    for asked in questions(study, compared.model, compared.sides):
        if not compared.outcome.task or asked.name == TO_DENSE:
            with suppress(NotComparableError):
                effect, covers = _estimated(compared, asked)
                differs = differing(study, asked.left[0], asked.right[0]) if asked.name == REFERENCE else []
                own = mean(compared.paired(asked.left, asked.right)[1])
                yield compared.row(
                    *asked,
                    effect,
                    covers,
                    base=compared.outcome.declared.shown(own),
                    differs=", ".join(differs),
                )


def _estimated(compared: Comparison, asked: Question) -> tuple[Estimate, str]:
    difference = compared.difference(asked.left, asked.right)
    if asked.name == TO_DENSE:
        return over_draws_or_items(difference)
    effect = estimate(difference)
    return effect, BOTH if effect.known else ""


def over_draws_or_items(difference: Contrast) -> tuple[Estimate, str]:
    """Estimate what plans have lost: over draws and items or, of too few draws for that, over items alone.

    Returns:
        The estimate, and what its interval covers.
    """
    effect = estimate(difference)
    if effect.known:
        return effect, BOTH
    alone = estimate(replace(difference, fixed=True))
    return replace(alone, draws=effect.draws), ITEMS_ALONE if alone.known else ""
