"""Learning curves of recovery: the loss on held-out pairs, and what the last doubling of the data brought."""

from typing import ClassVar

import pandas as pd

from hfprune.analysis.tidy import LEARNING
from hfprune.report.collected import Collected
from hfprune.report.publication import TablePublication, caption
from hfprune.report.typeset import MISSING, Table

_CELL = ["model", "ratio", "method", "seed", "recovery"]
_CAPTION = caption("tables", "learning")
_NOTES = [
    "Loss: nats per response token, on pairs that no recovery of the model is trained on; ±: standard error over "
    "their sequences. Tokens: of the sequences that were read, prompts and padding included.",
    "Last doubling: the loss at the end minus that after half of the steps, rounded up, in pairs on the same "
    "sequences. The interval holds for this training, not for other draws of the calibration or another order of "
    "the pairs.",
    "Before the end a schedule is unfinished, since the learning rate has not decayed, unless it is constant. "
    "A run of half the budget may end lower or higher than the curve at half, and a flat end does not say that "
    "more data would bring nothing.",
]


class Learning(TablePublication):
    """The table of learning curves."""

    order: ClassVar[int] = 11
    reads: ClassVar[tuple[str, ...]] = (LEARNING,)

    def make(self, data: Collected) -> Table:
        """Give each curve a row: its end, beside its beginning."""
        curves = data.curves
        by_step = curves.sort_values("step").groupby(_CELL)
        numbers = by_step.tail(1).merge(by_step.head(1)[[*_CELL, "loss"]], on=_CELL, suffixes=("", "_before"))
        numbers = numbers.sort_values(
            _CELL,
            key=lambda part: part.map([*data.looks].index) if part.name == "method" else part,
            ignore_index=True,
        )
        if numbers.empty:
            empty = pd.DataFrame(columns=["Ratio", "Method"], dtype=str)
            return Table(
                _CAPTION, numbers, empty, pd.Series(dtype=int), ["No recovery was measured as it trained."]
            )
        shown = pd.DataFrame(
            {
                "Ratio": [f"{100 * ratio:.3g}%" for ratio in numbers["ratio"]],
                "Method": [data.looks[method].label for method in numbers["method"]],
                "Seed": [f"{seed}" for seed in numbers["seed"]],
                "Steps": [f"{step:,.0f}" for step in numbers["step"]],
                "Tokens": [f"{tokens:,.0f}" for tokens in numbers["tokens"]],
                "Loss before": [f"{loss:.3f}" for loss in numbers["loss_before"]],
                "Loss at the end": [
                    f"{loss:.3f}" + ("" if pd.isna(stderr) else f" ± {stderr:.3f}")
                    for loss, stderr in zip(numbers["loss"], numbers["stderr"], strict=True)
                ],
                "Last doubling": [_change(change) for change in numbers["doubling"]],
                "95 % interval": [
                    MISSING if pd.isna(low) else f"[{_change(low)}, {_change(high)}]"
                    for low, high in zip(numbers["doubling_low"], numbers["doubling_high"], strict=True)
                ],
                "n": [f"{n:,.0f}" for n in numbers["n"]],
            }
        )
        if numbers["seed"].nunique() == 1:
            shown = shown.drop(columns="Seed")
        groups = numbers.groupby(["model", "ratio"], sort=False).ngroup()
        return Table(_CAPTION, numbers, shown, groups, _NOTES, numbers["model"])


def _change(change: float) -> str:
    return MISSING if pd.isna(change) else f"{change:+.3f}"
