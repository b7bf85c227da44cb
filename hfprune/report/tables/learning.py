"""Learning curves of recovery: the loss on held-out pairs, and its decrease over the last doubling of the data."""

import pandas as pd

from hfprune.report.cells import head_columns, in_order, texts, with_errors, with_intervals
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import Column, Table
from hfprune.results.reader import Results

_CURVE = ["model", "ratio", "calibrated", "method", "draw", "recovery"]


class LearningTable(TablePublication):
    """One row per recovery: the end of its curve, beside the loss before."""

    order = 11
    empty = "No recovery was measured as it trained."

    def make(self, data: Results) -> Table:
        by_step = data.curves.sort_values("step").groupby(_CURVE)
        rows = by_step.tail(1).merge(by_step.head(1)[[*_CURVE, "loss"]], on=_CURVE, suffixes=("", "_before"))
        rows = in_order(rows, _CURVE, looks_of(data))
        several = rows["recovery"].nunique() > 1
        effects = pd.DataFrame([*rows["doubling"]], rows.index, ["value", "low", "high"])
        rows = rows.assign(doubling=effects["value"], low=effects["low"], high=effects["high"])
        doublings, intervals = with_intervals(rows["doubling"], rows["low"], rows["high"], "{:+.3f}")
        draw = Column("Draw", texts(rows["draw"], "{}"))
        columns = [
            *head_columns(rows if several else rows.drop(columns="recovery"), looks_of(data)),
            *([draw] if rows["draw"].nunique() > 1 else []),
            Column("Steps", texts(rows["step"], "{:,.0f}")),
            Column("Tokens", texts(rows["tokens"], "{:,.0f}")),
            Column("Loss before", texts(rows["loss_before"], "{:.3f}")),
            Column("Loss at the end", with_errors(rows["loss"], rows["stderr"], "{:.3f}")),
            Column("Last doubling", doublings),
            Column("95 % interval", intervals),
            Column("n", texts(rows["n"], "{:,.0f}")),
        ]
        notes = [
            "Loss: nats per response token, on pairs that are never trained on; ±: standard error over sequences. "
            "Tokens: all that were read, including prompts and padding.",
            "Last doubling: loss at the end minus loss after half of the steps, paired by sequence. The interval "
            "covers sequences only, not other draws of the calibration or orders of the pairs.",
            "A flat end may be the decay of the learning rate.",
        ]
        return Table(rows, columns, notes)
