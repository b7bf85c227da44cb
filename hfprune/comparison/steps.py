"""Which of the steps after pruning are worth taking: reconstruction and recovery."""

import numpy as np
import pandas as pd

from hfprune.cells import DENSE
from hfprune.comparison.before_after import ASKED, OWN, Sides, spelt
from hfprune.comparison.rows import SHARE, paired, share
from hfprune.effects.effect import ALPHA, Effect
from hfprune.rounding import percent
from hfprune.statistics.estimates import holm


def worth_taking(sides: Sides, *, keep: bool, most: float | None = None) -> tuple[str, list[str]]:
    """Return the step to export, and a sentence for each step after it that makes the model worse.

    A step is not taken where the paired 95 % interval of its loss of perplexity lies above none, on the user's own
    text if it was measured, else on the suite's; without an interval, where the loss does. Nor is it where a
    capability is significantly worse after it, and worse than the dense model's, unless the model is only with it
    within the limit `most`. `keep` takes every step.
    """
    best, *later = [step for step in sides if step != DENSE]
    said = []
    for step in later:
        key = min(key for key in sides[step] if key[0].removeprefix(OWN) == "perplexity")
        before, after = (side[key] for side in (sides[best], sides[step]))
        old, new = (side.values["perplexity"] for side in (before, after))
        change = paired([after.items, before.items], "nll")
        shown = f"Perplexity on {spelt(key[1])}: {old:,.2f} → {new:,.2f}, {share(old, new, change)}"
        fallen = _fallen(sides, best, step)
        is_worse = (change.low if change else new - old) > 0
        is_needed = not is_worse and most and _within(sides, step, most) and not _within(sides, best, most)
        if is_worse or fallen:
            done = f"not taken: the {best} one is exported"
            if keep or is_needed:
                done = (
                    "kept (--keep-recovery)"
                    if keep
                    else f"kept: only with it --max-loss {percent(most)} is held"
                )
            where = f" in {', '.join(fallen)}" * bool(fallen and not is_worse)
            shown += ", no interval" * (change is None)
            shown += "" if keep or is_needed else "; --keep-recovery exports it"
            said.append(f"The {step} model is worse than the {best} one{where}, and {done}. {shown}.")
        best = step if keep or is_needed or not (is_worse or fallen) else best
    return best, said


def _fallen(sides: Sides, best: str, step: str) -> list[str]:
    """Return the capabilities that a step costs, by Holm's correction, with their numbers.

    One that is no worse than in the dense model is none: calibration may have raised it.
    """
    keys = [key for key in sides[step] if key[0].removeprefix(ASKED) == "gold_bpb"]
    changes = {key: paired([sides[step][key].items, sides[best][key].items], "bpb") for key in keys}
    known = {key: change for key, change in changes.items() if change}
    corrected = holm([change.p_value() for change in known.values()])
    worse = [
        key
        for (key, change), p_value in zip(known.items(), corrected, strict=True)
        if change.value > 0
        and p_value < ALPHA
        and sides[step][key].values["bpb"] > sides[DENSE][key].values["bpb"]
    ]
    ends = {key: [sides[at][key].values["bpb"] for at in (best, step)] for key in worse}
    return [
        f"{task.replace('_', ' ')} ({before:.3f} → {after:.3f} bits per byte)"
        for (_, task), (before, after) in ends.items()
    ]


def _within(sides: Sides, step: str, most: float) -> bool:
    """Tell whether a step is shown to be within the limit, by each measure that it is of."""
    asked = [key for key in sides[step] if key[0].startswith(ASKED)]
    columns = {key: "nll" if key[0] == f"{ASKED}perplexity" else "bpb" for key in asked}
    rises = [
        relative_rise(sides[step][key].items, sides[DENSE][key].items, column, most)[0]
        for key, column in columns.items()
    ]
    return all(rise.high < most for rise in rises)


def relative_rise(after: pd.DataFrame, before: pd.DataFrame, column: str, limit: float) -> tuple[Effect, int]:
    """Return the rise of a number that is better low as a share of the dense model's, and the documents behind it.

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
    return Effect(value, low, high, form=SHARE, better=-1, neutral=limit), change.n
