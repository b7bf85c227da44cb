"""Whether a pruned model can be used, and which of the steps after pruning are worth taking."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hfprune.analysis.statistics import MIN_DOCUMENTS, multiples_to_decide
from hfprune.analysis.steps import (
    CAPABILITY,
    OWN,
    PERPLEXITY,
    REPEATED,
    TASKS,
    Row,
    Sides,
    paired,
    spelt,
    with_interval,
)
from hfprune.results import DENSE


class Bounds(NamedTuple):
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
# One answer to more than this share of a task's questions is a constant one, as in a study.
CONSTANT = 0.9
USABLE, UNCLEAR, LOST = "usable", "not shown usable", "not usable"


def standing(row: Row, bounds: Bounds) -> str:
    """Return whether a model is usable by a row: by the high end of its loss, which must be known."""
    if row.change is None or row.change > bounds.lost:
        return UNCLEAR if row.change is None else LOST
    return USABLE if row.high is not None and row.high < bounds.usable else UNCLEAR


def verdict(rows: Sequence[Row], vocabulary: int, repaired: bool) -> list[str]:
    """Return in plain sentences whether the model can be used and what was lost; nothing if it was not measured.

    Args:
        vocabulary: tokens that the model knows; a blind guess has this perplexity.
        repaired: whether training was tried, so that it is no advice.
    """
    yardsticks = [(row, LOSS) for row in rows if row.name.startswith(PERPLEXITY) and row.before is not None]
    if not yardsticks:
        return []
    for row, _ in yardsticks:
        if row.before is not None and row.before > min(BROKEN, vocabulary / 4):
            return [
                f"Warning: the dense model itself is broken or cannot read this text ({row.name}: "
                f"{row.before:,.0f}): the comparison says nothing of pruning. Look at its weights, tokenizer and "
                "dtype.",
                f"Perplexity changes by {row.said()}{_basis(row)} against the dense model's.",
            ]
    yardsticks += [(row, REPETITION) for row in rows if row.name.startswith(REPEATED)]
    order = [LOST, UNCLEAR, USABLE]
    row, bounds = min(yardsticks, key=lambda yardstick: order.index(standing(*yardstick)))
    found, unit = standing(row, bounds), "{:+.0%}" if bounds is LOSS else "{:+.0f} points"
    usable, lost = (unit.format(bound) for bound in bounds)
    said = [
        f"Verdict: {found}, by the {row.name}: {row.said()}{_basis(row)} against the dense model's. A high end "
        f"below {usable} is usable, a change beyond {lost} is not."
    ]
    if found != USABLE:
        said.append(
            f"What {'would show it' if found == UNCLEAR else 'may help'}: {_more(row, bounds, repaired)}."
        )
    return [*said, *_degenerate(rows), *_lost(rows)]


def _basis(row: Row) -> str:
    return f" (n = {row.n}, no interval)" if row.low is None else f" (95 % interval, n = {row.n})"


def _more(row: Row, bounds: Bounds, repaired: bool) -> str:
    limit, text = bounds.usable / 100 if row.absolute else float(np.log1p(bounds.usable)), ""
    if row.found is None and standing(row, bounds) == UNCLEAR:
        text = f"text of {MIN_DOCUMENTS} documents or more, for an interval (--eval-text)"
    elif row.found and row.found.value < limit:
        times = multiples_to_decide(row.found, lambda more: more.high < limit)
        text = f"{max(times) if times else 'over 100'} times the text (--eval-text)"
    return " or ".join(filter(None, [text, "a lower --ratio", "" if repaired else "recovery (--recover)"]))


def _degenerate(rows: Sequence[Row]) -> list[str]:
    """Name text that repeats itself by more than the dense model's, beyond the interval and what is usable."""
    return [
        f"Its greedy text is degenerate: {row.after:.0f} % of its 4-grams stood in it before, against "
        f"{row.before:.0f} % in the dense model's."
        for row in rows
        if row.name.startswith(REPEATED) and (row.change or 0) > REPETITION.usable and (row.low or 0) > 0
    ]


def _lost(rows: Sequence[Row]) -> list[str]:
    """Return sentences on the capabilities and tasks that lost measurably, and on constant answers."""
    said = []
    for group, word, sign in ((CAPABILITY, "capabilities", 1), (TASKS, "tasks", -1)):
        found = [row for row in rows if row.group == group and row.change is not None]
        surely = [row for row in found if min(sign * (row.low or 0), sign * (row.high or 0)) > 0]
        surely.sort(key=lambda row: -sign * (row.change or 0))
        names = ", ".join(row.name.split(", ")[1] for row in surely)
        if found:
            most = f", most first: {names}" if surely else ""
            said.append(f"{len(surely)} of {len(found)} {word} lost measurably{most}.")
    constant = [row for row in rows if row.name.startswith("commonest") and row.after > 100 * CONSTANT]
    return said + [
        f"{row.name.split(', ')[1]}: one answer to {row.after:.0f} % of the questions, so accuracy says nothing."
        for row in constant
    ]


def worth_taking(sides: Sides, *, keep: bool) -> tuple[str, list[str]]:
    """Return the step to export, and a sentence for each step after it that makes perplexity worse.

    A step is not taken where the paired 95 % interval of its loss lies above none, on the user's own text if it
    was measured, else on the suite's; without an interval, where the loss does.

    Args:
        keep: take every step.
    """
    steps = [step for step in sides if step != DENSE]
    best, said = steps[0], []
    for step in steps[1:]:
        key = next((key for key in sorted(sides[step]) if key[0] in (f"{OWN}perplexity", "perplexity")), None)
        if key is None or key not in sides[best]:
            best = step
            continue
        before, after = (side[key].values["perplexity"] for side in (sides[best], sides[step]))
        found = paired([side[key].items for side in (sides[step], sides[best])], "nll")
        row = with_interval(Row("", "", before, after, "{:,.2f}", change=after / before - 1), found)
        if (found.low if found else after - before) <= 0:
            best = step
            continue
        done = "kept (--keep-recovery)" if keep else f"not taken: the {best} one is exported"
        shown = f"{before:,.2f} → {after:,.2f}, {row.said()}" + ", no interval" * (found is None)
        said.append(
            f"The {step} model is worse than the {best} one, and {done}. Perplexity on {spelt(key[1])}: {shown}"
            f"{'' if keep else '; --keep-recovery exports it'}."
        )
        best = step if keep else best
    return best, said
