"""The gain from more calibration, by the number of sequences that a criterion read."""

from hfprune.analysis.curves import SCORED, by_sequences
from hfprune.report.cells import ratio_column, texts, with_errors
from hfprune.report.collected import Collected
from hfprune.report.publication import TablePublication
from hfprune.report.style import metric_label
from hfprune.report.typeset import Column, Table

_OUTCOMES = {"js_distance": "{:.3f}", "perplexity": "{:,.1f}"}


class CalibrationTable(TablePublication):
    order = 10
    empty = "No calibration was measured as it went on."

    def make(self, data: Collected) -> Table:
        rows = by_sequences(data.results, data.marks, data.declared)
        scored = [name for name in SCORED if name == "criterion" or rows[name].nunique() > 1]
        columns = [
            *(Column(name.capitalize(), rows[name].tolist(), words=True) for name in ("model", *scored)),
            ratio_column(rows),
            Column("Sequences", texts(rows["sequences"], "{:,.0f}")),
            Column("Agreement", texts(rows["agreement"], "{:.3f}")),
            *(
                Column(metric_label(metric), with_errors(rows[metric], rows[f"{metric}_stderr"], form))
                for metric, form in _OUTCOMES.items()
            ),
        ]
        notes = [
            "Agreement: share of the neurons kept by one half of the sequences that the other half keeps too, "
            "both cut to half the width.",
            "±: standard error over documents.",
        ]
        return Table(rows, columns, notes, groups=("model", *SCORED, "ratio"), section="")
