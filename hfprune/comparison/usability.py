"""Whether a pruned model can be used, and which of the steps after pruning are worth taking."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hfprune.cells import DENSE
from hfprune.comparison.before_after import OWN, Sides, spelt
from hfprune.comparison.rows import Kind, Row, paired, share
from hfprune.results.effect import BETTER, WORSE
from hfprune.rounding import percent
from hfprune.statistics.estimates import multiples_to_decide
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


def standing(row: Row, bounds: Bounds) -> str:
    """Return whether a model is usable by a row: by the high end of its loss, which must be known."""
    if row.change.value > bounds.lost:
        return LOST
    return USABLE if row.change.high < bounds.usable else UNCLEAR


def conclusions(rows: Sequence[Row], vocabulary: int, repaired: bool, most: float | None = None) -> list[str]:
    """Return in plain sentences whether the model can be used and what was lost; nothing if it was not measured.

    Args:
        vocabulary: tokens that the model knows; a blind guess has this perplexity.
        repaired: whether training was tried, so that it is no advice.
        most: the rise of perplexity that the user allows, which alone is judged then; None: by `LOSS` and
            `REPETITION`.
    """
    texts = [row for row in rows if row.measure == "perplexity"]
    repetitions = [row for row in rows if row.kind is Kind.REPETITION]
    for row in texts:
        if (row.before or 0) > min(BROKEN, vocabulary / 4):
            return [
                f"Warning: the dense model itself is broken or cannot read this text ({row.name}: "
                f"{row.before:,.0f}): the comparison says nothing of pruning. Look at its weights, tokenizer and "
                "dtype."
            ]
    said = _by_limit(texts, most) if most else _by_bounds([*texts, *repetitions], repaired)
    said += [
        f"Its greedy text is degenerate: {row.after:.0f} % of its 4-grams stood in it before, against "
        f"{row.before:.0f} % in the dense model's."
        for row in repetitions
        if row.change.value > REPETITION.usable and row.change.side == 1
    ]
    return said + _lost(rows)


def _by_bounds(yardsticks: Sequence[Row], repaired: bool) -> list[str]:
    """Return whether the model can be used, by the yardstick that it does worst by, and what would help."""
    if not yardsticks:
        return []
    bounds = {Kind.TEXT: LOSS, Kind.REPETITION: REPETITION}
    row = min(yardsticks, key=lambda row: [LOST, UNCLEAR, USABLE].index(standing(row, bounds[row.kind])))
    found = standing(row, bounds[row.kind])
    usable, lost = (_bound(row.kind, bound) for bound in bounds[row.kind])
    said = [
        f"Conclusion: {found}, by the {_changed(row)} against the dense model's. A model is "
        f"usable if its interval ends below {usable}, and not usable if its change is beyond {lost}."
    ]
    if found != USABLE:
        more = _more(row, found, bounds[row.kind])
        helps = "would show it" if more else "may help"
        said.append(f"What {helps}: {more}a lower --ratio{'' if repaired else ' or recovery (--recover)'}.")
    return said


def _by_limit(texts: Sequence[Row], most: float) -> list[str]:
    """Return whether the model is within the limit that was asked for, and how it does on other texts."""
    said = []
    for row in texts:
        if row.kind is Kind.LIMIT:
            place = {USABLE: "within", UNCLEAR: "not shown to be within", LOST: "beyond"}
            found = place[standing(row, Bounds(most, most))]
            said.append(
                f"Conclusion: {found} --max-loss {percent(most)}, by the {_changed(row)} against the dense "
                f"model's. A model is within if its interval ends below {_bound(row.kind, most)}."
            )
    others = [_changed(row) for row in texts if row.kind is not Kind.LIMIT]
    return said + [f"On text that did not choose the cut: {'; '.join(others)}."] * bool(others and said)


def _changed(row: Row) -> str:
    basis = f"95 % interval, n = {row.n}" if row.change.known else f"no interval, n = {row.n}"
    return f"{row.name}: {row.change} ({basis})"


def _bound(kind: Kind, bound: float) -> str:
    return f"+{bound:.0f} points" if kind is Kind.REPETITION else f"+{percent(bound)}"


def _more(row: Row, found: str, bounds: Bounds) -> str:
    """Return how much more text would show that the model is usable, or "" where none would."""
    if row.kind is Kind.REPETITION:  # of the suite's own text
        return ""
    limit = float(np.log1p(bounds.usable))
    if row.found is None:
        text = f"text of {MIN_DOCUMENTS} documents or more, for an interval"
        return f"{text} (--eval-text) or " if found == UNCLEAR else ""
    if row.found.value >= limit:
        return ""
    times = multiples_to_decide(row.found, lambda more: more.high < limit)
    return f"{max(times) if times else 'over 100'} times the text (--eval-text) or "


def _lost(rows: Sequence[Row]) -> list[str]:
    """Return sentences on the capabilities and tasks that changed, after Holm's correction for their number."""
    said = []
    kinds = (Kind.CAPABILITY, "capabilities", "bits per byte"), (Kind.TASK, "tasks", "% right")
    for kind, word, unit in kinds:
        own = [row for row in rows if row.kind is kind]
        surely = [row for row in own if row.change.standing == WORSE]
        surely.sort(key=lambda row: row.change.better * row.change.value)
        if own:
            most = f", most first: {', '.join(_ends(row, unit) for row in surely)}" if surely else ""
            gained = ", ".join(_ends(row, unit) for row in own if row.change.standing == BETTER)
            more = f"; gained measurably: {gained}" if gained else ""
            said.append(f"{len(surely)} of {len(own)} {word} lost measurably{most}{more}.")
    return said


def _ends(row: Row, unit: str) -> str:
    ends = (row.before or 0, row.after)
    return f"{row.task} ({' → '.join(map(row.shown.format, ends))} {unit})"


def worth_taking(sides: Sides, *, keep: bool) -> tuple[str, list[str]]:
    """Return the step to export, and a sentence for each step after it that makes perplexity worse.

    A step is not taken where the paired 95 % interval of its loss lies above none, on the user's own text if it
    was measured, else on the suite's; without an interval, where the loss does. `keep` takes every step.
    """
    best, *later = [step for step in sides if step != DENSE]
    said = []
    for step in later:
        key = min(key for key in sides[step] if key[0].removeprefix(OWN) == "perplexity")
        before, after = (side[key] for side in (sides[best], sides[step]))
        old, new = (side.values["perplexity"] for side in (before, after))
        found = paired([after.items, before.items], "nll")
        if worse := (found.low if found else new - old) > 0:
            done = "kept (--keep-recovery)" if keep else f"not taken: the {best} one is exported"
            shown = f"{old:,.2f} → {new:,.2f}, {share(old, new, found)}" + ", no interval" * (found is None)
            said.append(
                f"The {step} model is worse than the {best} one, and {done}. Perplexity on {spelt(key[1])}: "
                f"{shown}{'' if keep else '; --keep-recovery exports it'}."
            )
        best = step if keep or not worse else best
    return best, said
