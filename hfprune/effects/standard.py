"""The effects of every study: each method beside its reference, the dense model, and itself without recovery."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from hfprune.effects.comparisons import ComparedBy, Comparison, comparisons, mean
from hfprune.effects.questions import REFERENCE, TO_DENSE, questions
from hfprune.results.effect_rows import BOTH, ITEMS_ALONE, EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Contrast, NotComparableError
from hfprune.study.reference import differing


def effects(evidence: Evidence) -> list[EffectRow]:
    """Return the effects of a study, except those of the paper's claims.

    Rows with the same question about one outcome, or about outcomes that the study corrects together, are a
    family for Holm's method, over all models, methods, ratios and recoveries (`Comparison`). Questions about cells
    that were not measured have no row. Changes against the dense model have rows by task, too.
    """
    outcomes = [part for whole in ComparedBy.all_of(evidence) for part in (whole, *whole.by_task(evidence))]
    return [row for compared in comparisons(evidence, outcomes) for row in _rows(compared)]


def _rows(compared: Comparison) -> Iterator[EffectRow]:
    study = compared.evidence.study
    for asked in questions(study, compared.model, compared.sides):
        if not compared.outcome.task or asked.name == TO_DENSE:
            with suppress(NotComparableError):
                difference = compared.difference(asked.left, asked.right)
                covers: str | None = None
                if asked.name == TO_DENSE:
                    effect, covers = over_draws_or_items(difference)
                else:
                    effect = estimate(difference)
                differs = differing(study, asked.left[0], asked.right[0]) if asked.name == REFERENCE else []
                own = mean(compared.paired(asked.left, asked.right)[1])
                base = compared.outcome.declared.shown(own)
                yield compared.row(*asked, effect, covers, base=base, differs=", ".join(differs))


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
