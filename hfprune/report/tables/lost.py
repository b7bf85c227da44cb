"""What pruning costs, task by task."""

from hfprune.effects.questions import TO_DENSE
from hfprune.report.cells import head_columns, in_order, texts, words
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.results.effect import Effect
from hfprune.results.reader import Results
from hfprune.study import paths


class Lost(TablePublication):
    """Changes of outcomes by pruning, without recovery."""

    order = 15
    reads = (paths.EFFECTS,)
    empty = "No outcome was measured item by item on a pruned and the dense model."

    def make(self, data: Results) -> Table:
        """Lay out one row per cell and task; a mean over tasks stands by its tasks."""
        rows = data.effects
        rows = rows[(rows["question"] == TO_DENSE) & (rows["recovery"] == "none")]
        rows = rows[rows["outcome"].isin(data.declared.first_outcomes())]
        rows = rows[(rows["task"] != "") | (rows["tasks"] == 1)]
        rows = in_order(rows, ("model", "ratio", "calibrated", "method"), looks_of(data))
        effects = [Effect.of_row(row) for row in rows.to_dict("records")]
        changes = ["× " * effect.ratio + effect.texts[0] for effect in effects]
        found = [data.declared.find(row.measure, row.metric) for row in rows.itertuples()]
        columns = [
            *head_columns(rows, looks_of(data)),
            Column("Outcome", [row.label for row in found], words=True),
            Column("Task", [task.replace("_", " ") or MISSING for task in rows["task"]]),
            Column("Dense", texts(rows["base"], "{:,.2f}")),
            Column("Change", changes),
            Column("95 % interval", [effect.texts[1] or MISSING for effect in effects]),
            Column("Covers", words(rows["covers"])),
            Column("n", texts(rows["n"], "{:,.0f}")),
        ]
        notes = [
            "Change: the pruned model's outcome minus the dense model's, in pairs on the same items, or, with "
            "×, divided by it. An interval that covers items alone holds for these plans, not for other draws "
            "of the calibration."
        ]
        return Table(rows, columns, notes, groups=("model", "calibrated", "ratio", "method"))
