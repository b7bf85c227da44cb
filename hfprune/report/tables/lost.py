"""What pruning costs, task by task."""

from hfprune.report.cells import head_columns, texts, with_intervals, words
from hfprune.report.collected import Collected
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.study import layout


class Lost(TablePublication):
    order = 15
    reads = (layout.LOST,)
    empty = "No outcome was measured item by item on a pruned and the dense model."

    def make(self, data: Collected) -> Table:
        rows = data.lost
        found = [data.declared.find(row.measure, row.metric) for row in rows.itertuples()]
        ratios = [row.metric.effect == "ratio" for row in found]
        forms = ["× {:,.2f}" if ratio else "{:+.2f}" for ratio in ratios]
        outcomes = [row.label for row in found]
        tasks = [task.replace("_", " ") or MISSING for task in words(rows["task"])]
        changes, intervals = with_intervals(
            rows["change"], rows["low"], rows["high"], forms, [*map(float, ratios)], ratios
        )
        columns = [
            *head_columns(rows, data.looks),
            Column("Outcome", outcomes, words=True),
            Column("Task", tasks),
            Column("Dense", texts(rows["dense"], "{:,.2f}")),
            Column("Change", changes),
            Column("95 % interval", intervals),
            Column("Covers", words(rows["covers"])),
            Column("n", texts(rows["n"], "{:,.0f}")),
        ]
        notes = [
            "Change: the pruned model's outcome minus the dense model's, in pairs on the same items, or, with "
            "×, divided by it. An interval that covers items alone holds for these plans, not for other draws "
            "of the calibration."
        ]
        return Table(rows, columns, notes, groups=("model", "ratio", "method"))
