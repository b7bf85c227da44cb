"""Whether a pruned model can be used, and which of the steps after pruning are worth taking."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from hfprune.assets.known_tasks import CROWS
from hfprune.cells import DENSE
from hfprune.comparison.before_after import ASKED, CAPABILITY, OWN, REPEATS, TASK, Sides, class_of
from hfprune.comparison.rows import compared
from hfprune.results.effect import BETTER, WORSE
from hfprune.results.effect_rows import EffectRow
from hfprune.rounding import percent
from hfprune.statistics.spread import MIN_DOCUMENTS


class Bounds(NamedTuple):
    """Two bounds of a loss: a share of perplexity, or points of repeated 4-grams."""

    usable: float
    """A model is usable where the high end of the 95 % interval of its loss is below this."""
    lost: float
    """It is not usable where the loss itself is beyond this."""


# Perplexity, as a share of the dense model's. By the scaling law of Kaplan et al. (2020), in which the loss is as
# N^-0.076 for N parameters, at 3.4 nats a dense model of 70 % of the size loses 10 %, and one of 23 % of it 50 %:
# the first is about what a ratio of 0.3 saves, and after the second a small dense model is better.
LOSS = Bounds(0.1, 0.5)
# Points of repeated 4-grams. Welleck et al. (2020, Table 2) count 0.6 % in human text and 44 % in greedy text of a
# model: as many more than the dense model's are too many, and half of them are still usable.
REPETITION = Bounds(22, 44)
# No model that has learnt a language has so high a perplexity on ordinary text.
BROKEN = 1000.0
USABLE, UNCLEAR, LOST = "usable", "not shown usable", "not usable"


def standing(row: EffectRow, bounds: Bounds) -> str:
    """Return whether a model is usable by a row: by the high end of its loss, which must be known."""
    change = row.effect.change
    if change.value > bounds.lost:
        return LOST
    return USABLE if change.high < bounds.usable else UNCLEAR


def conclusions(
    rows: Sequence[EffectRow], vocabulary: int, repaired: bool, most: float | None = None
) -> list[str]:
    """Return in plain sentences whether the model can be used and what was lost; nothing if it was not measured.

    Args:
        vocabulary: tokens that the model knows; a blind guess has this perplexity.
        repaired: whether training was tried, so that it is no advice.
        most: the rise of perplexity that the user allows, which alone is judged then; None: by `LOSS` and
            `REPETITION`.
    """
    texts = [row for row in rows if class_of(row.measure) == "perplexity"]
    repetitions = [row for row in rows if row.measure == REPEATS]
    for row in texts:
        if row.base > min(BROKEN, vocabulary / 4):
            return [
                f"Warning: the dense model itself is broken or cannot read this text ({row.label}: "
                f"{row.base:,.0f}): the comparison says nothing of pruning. Look at its weights, tokenizer and "
                "dtype."
            ]
    said = _by_limit(texts, most) if most else _by_bounds([*texts, *repetitions], repaired)
    said += [
        f"Its greedy text is degenerate: {row.own:.0f} % of its 4-grams stood in it before, against "
        f"{row.base:.0f} % in the dense model's."
        for row in repetitions
        if row.value > REPETITION.usable and row.effect.side == 1
    ]
    return said + _lost(rows)


def _by_bounds(yardsticks: Sequence[EffectRow], repaired: bool) -> list[str]:
    """Return whether the model can be used, by the yardstick that it does worst by, and what would help."""
    if not yardsticks:
        return []
    row = min(yardsticks, key=lambda row: [LOST, UNCLEAR, USABLE].index(standing(row, _bounds(row))))
    place, bounds = standing(row, _bounds(row)), _bounds(row)
    usable, lost = (_bound(row, bound) for bound in bounds)
    said = [
        f"Conclusion: {place}, by the {_changed(row)} against the dense model's. A model is "
        f"usable if its interval ends below {usable}, and not usable if its change is beyond {lost}."
    ]
    if place != USABLE:
        more = _more(row, place, bounds)
        helps = "would show it" if more else "may help"
        said.append(f"What {helps}: {more}a lower --ratio{'' if repaired else ' or recovery (--recover)'}.")
    return said


def _by_limit(texts: Sequence[EffectRow], most: float) -> list[str]:
    """Return whether the model is within the limit that was asked for, and how it does on other texts."""
    said = []
    for row in texts:
        if row.measure.startswith(ASKED):
            places = {USABLE: "within", UNCLEAR: "not shown to be within", LOST: "beyond"}
            place = places[standing(row, Bounds(most, most))]
            said.append(
                f"Conclusion: {place} --max-loss {percent(most)}, by the {_changed(row)} against the dense "
                f"model's. A model is within if its interval ends below {_bound(row, most)}."
            )
    others = [_changed(row) for row in texts if not row.measure.startswith(ASKED)]
    return said + [f"On text that did not choose the cut: {'; '.join(others)}."] * bool(others and said)


def _changed(row: EffectRow) -> str:
    change = row.effect.change
    basis = f"95 % interval, n = {row.n}" if change.known else f"no interval, n = {row.n}"
    return f"{row.label}: {change} ({basis})"


def _bounds(row: EffectRow) -> Bounds:
    return REPETITION if row.measure == REPEATS else LOSS


def _bound(row: EffectRow, bound: float) -> str:
    return f"+{bound:.0f} points" if row.measure == REPEATS else f"+{percent(bound)}"


def _more(row: EffectRow, place: str, bounds: Bounds) -> str:
    """Return how much more text would show that the model is usable, or "" where none would."""
    if row.measure == REPEATS:  # of the suite's own text
        return ""
    limit = 1 + bounds.usable
    if not row.effect.known:
        text = f"text of {MIN_DOCUMENTS} documents or more, for an interval"
        return f"{text} (--eval-text) or " if place == UNCLEAR else ""
    if row.value >= limit:
        return ""
    # An interval narrows by the root of the documents, as far as the loss stays as it is.
    times = max(2, math.ceil((math.log(row.high / row.value) / math.log(limit / row.value)) ** 2))
    return f"{times if times <= 100 else 'over 100'} times the text (--eval-text) or "


def _lost(rows: Sequence[EffectRow]) -> list[str]:
    """Return sentences on the capabilities and tasks that changed, after Holm's correction for their number."""
    said = []
    for measure, word, unit in ((CAPABILITY, "capabilities", "bits per byte"), (TASK, "tasks", "% right")):
        family = [row for row in rows if row.measure == measure and row.metric != CROWS]
        lost = [row for row in family if row.effect.standing == WORSE]
        lost.sort(key=lambda row: row.effect.better * row.value)
        if family:
            most = f", most first: {', '.join(_ends(row, unit) for row in lost)}" if lost else ""
            gained = ", ".join(_ends(row, unit) for row in family if row.effect.standing == BETTER)
            more = f"; gained measurably: {gained}" if gained else ""
            said.append(f"{len(lost)} of {len(family)} {word} lost measurably{most}{more}.")
    return said


def _ends(row: EffectRow, unit: str) -> str:
    _, base, own, *_ = row.words()
    return f"{row.task} ({base} → {own} {unit})"


def worth_taking(sides: Sides, *, keep: bool) -> tuple[str, list[str]]:
    """Return the step to export, and a sentence for each step after it that makes perplexity worse.

    A step is not taken where the paired 95 % interval of its loss lies above none, on the user's own text if it
    was measured, else on the suite's; without an interval, where the loss does. `keep` takes every step.
    """
    best, *later = [step for step in sides if step != DENSE]
    said = []
    for step in later:
        key = min(key for key in sides[step] if key[0].removeprefix(OWN) == "perplexity")
        row = compared(sides, step, best, key)
        if worse := (row.low if row.effect.known else row.value) > 1:
            done = "kept (--keep-recovery)" if keep else f"not taken: the {best} one is exported"
            _, before, after, *_ = row.words()
            said.append(
                f"The {step} model is worse than the {best} one, and {done}. Perplexity on {row.task}: "
                f"{before} → {after}, {row.effect.change}{'' if row.effect.known else ', no interval'}"
                f"{'' if keep else '; --keep-recovery exports it'}."
            )
        best = step if keep or not worse else best
    return best, said
