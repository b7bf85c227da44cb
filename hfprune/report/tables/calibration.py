"""The gain from more calibration, by the number of sequences that a criterion read."""

from hfprune.analysis.sequences_needed import SCORED, SHARES, by_sequences
from hfprune.analysis.tidy import CALIBRATION
from hfprune.report.cells import ratio_column, texts, with_errors
from hfprune.report.collected import Collected
from hfprune.report.publication import TablePublication
from hfprune.report.style import metric_label
from hfprune.report.typeset import Column, Table

_OUTCOMES = {"js_distance": "{:.3f}", "perplexity": "{:,.1f}"}


class Calibration(TablePublication):
    """The table of agreement and outcomes by the sequences that criteria read."""

    order = 10
    reads = (CALIBRATION,)
    empty = "No calibration was measured as it went on."

    def make(self, data: Collected) -> Table:
        """Give each criterion and number of sequences a row."""
        rows = by_sequences(data.results, data.marks, data.declared)
        scored = [name for name in SCORED if name == "criterion" or rows[name].nunique() > 1]
        columns = [
            *(Column(name.capitalize(), rows[name].tolist(), words=True) for name in ("model", *scored)),
            ratio_column(rows),
            Column("Sequences", texts(rows["sequences"], "{:,.0f}")),
            Column("Agreement", texts(rows["agreement"], "{:.3f}")),
            Column("Settled", texts(rows["settled"], "{:.3f}")),
            *(
                Column(f"Sequences for {share:.0%}", texts(rows[name], "{:,.0f}"))
                for name, share in SHARES.items()
            ),
            *(
                Column(metric_label(metric), with_errors(rows[metric], rows[f"{metric}_stderr"], form))
                for metric, form in _OUTCOMES.items()
            ),
        ]
        notes = [
            "Agreement: share of the neurons kept by one half of the sequences that the other half keeps too, "
            "both cut to half the width.",
            "Settled: share of the neurons of the settled plan, that of a calibration without end, that the "
            "plan of all sequences keeps, as the agreement implies. Sequences for 95%, 99%: those that give these "
            "shares.",
            "±: standard error over documents.",
        ]
        return Table(rows, columns, notes, groups=("model", *SCORED, "ratio"), section="")
