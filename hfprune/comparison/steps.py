"""Which of the steps after pruning are worth taking: reconstruction and recovery."""

import numpy as np
import pandas as pd

from hfprune.cells import DENSE
from hfprune.comparison.before_after import ASKED, CAPABILITY, OWN, Sides, class_of
from hfprune.comparison.rows import compared, paired
from hfprune.results.effect import PERCENT_FORM, WORSE, Effect
from hfprune.results.effect_rows import corrected
from hfprune.rounding import percent

# The measure of text by which --max-loss judges; capabilities are judged by their right answers.
LIMIT = f"{ASKED}perplexity"


def worth_taking(sides: Sides, *, keep: bool, most: float | None = None) -> tuple[str, list[str]]:
    """Return the step to export, and a sentence for each step after it that makes the model worse.

    A step is not taken if the paired 95 % interval of its loss of perplexity (without an interval, the loss) lies
    above zero, on the user's own text if measured, else on the suite's; or if a capability is significantly worse
    after it, and worse than the dense model's. It is still taken if the model is within the limit `most` only
    after a step that does not raise perplexity. `keep` takes every step.
    """
    best, *later = [step for step in sides if step != DENSE]
    sentences = []
    for step in later:
        key = min(key for key in sides[step] if key[0].removeprefix(OWN) == "perplexity")
        row = compared(sides, step, best, key)
        _, old, new, *_ = row.words()
        shown = f"Perplexity on {row.task}: {old} → {new}, {row.effect.change}"
        fallen = _fallen(sides, best, step)
        is_worse = (row.low if row.effect.has_interval else row.value) > 1
        is_needed = not is_worse and most and _within(sides, step, most) and not _within(sides, best, most)
        if is_worse or fallen:
            where = f" in {', '.join(fallen)}" if fallen and not is_worse else ""
            shown += "" if row.effect.has_interval else ", no interval"
            if keep:
                done = "but kept (--keep-recovery)"
            elif is_needed:
                done = f"but kept, because only this step is within --max-loss {percent(most)}"
            else:
                done = f"so the {best} one is exported"
                shown += "; --keep-recovery exports it"
            sentences.append(f"The {step} model is worse than the {best} one{where}, {done}. {shown}.")
        if keep or is_needed or not (is_worse or fallen):
            best = step
    return best, sentences


def _fallen(sides: Sides, best: str, step: str) -> list[str]:
    """Return the capabilities that a step costs, after Holm's correction, with their numbers.

    A capability that is no worse than in the dense model does not count, since calibration may have raised it.
    """
    keys = [key for key in sides[step] if class_of(key[0]) == CAPABILITY and key in sides[best]]
    rows = corrected([compared(sides, step, best, key) for key in keys])
    return [
        f"{row.task} ({before} → {after} bits per byte)"
        for row, key, (_, before, after, *_) in zip(rows, keys, (row.words() for row in rows), strict=True)
        if row.effect.standing == WORSE and row.own > sides[DENSE][key].values["bpb"]
    ]


def _within(sides: Sides, step: str, most: float) -> bool:
    """Tell whether a step is shown to be within the limit by each measure that the limit concerns."""
    asked = [key for key in sides[step] if key[0].startswith(ASKED)]
    rises = [
        relative_rise(sides[step][key].items, sides[DENSE][key].items, limit_column(key[0]), most)[0]
        for key in asked
    ]
    return all(rise.high < most for rise in rises)


def limit_column(measure: str) -> str:
    """Return the column of items by which a measure is judged against a limit."""
    return "nll" if measure == LIMIT else "bpb"


def relative_rise(after: pd.DataFrame, before: pd.DataFrame, column: str, limit: float) -> tuple[Effect, int]:
    """Return the rise of a number whose lower values are better, relative to the dense model, and its documents.

    Args:
        after: outcomes of the pruned model, by item.
        before: those of the dense model.
        column: `nll`, of which the rise is that of perplexity, or `bpb`, whose rise is divided by the dense mean
            on the same documents.
        limit: becomes the effect's `neutral`.
    """
    change = paired([after, before], column)
    if change is None:
        return Effect(np.nan, neutral=limit), 0
    ends = np.array([change.value, change.low, change.high])
    rises = np.expm1(ends) if column == "nll" else ends / before[column].mean()
    value, low, high = map(float, rises)
    return Effect(value, low, high, form=PERCENT_FORM, better=-1, neutral=limit), change.n
