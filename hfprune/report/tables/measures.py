"""All measures that no table of the paper shows."""

import pandas as pd

from hfprune.analysis.averages import over_seeds
from hfprune.analysis.tidy import blank_cells
from hfprune.report.cells import OURS, head_columns, in_order, present
from hfprune.report.collected import Collected
from hfprune.report.measures import MEAN, dotted, headings, other_values, scaled
from hfprune.report.notes import mark_notes
from hfprune.report.publication import TablePublication
from hfprune.report.rows import ORDER, ROW, Form, lay_out, with_blanks
from hfprune.report.typeset import Table


class Measures(TablePublication):
    """The table of measures beside those of the paper's tables, laid out by their declarations."""

    order = 9
    empty = "Nothing else was measured."

    def make(self, data: Collected) -> Table:
        """Give each cell a row over seeds, and each metric a column, or one per task if there are several."""
        values = scaled(other_values(data.results, data.declared), data.declared)
        if values.empty:
            return Table(pd.DataFrame(columns=ROW[:-1]), [], [])
        names, cells = headings(values, data.declared), over_seeds(values)
        forms = {}
        for (measure, metric, task), heading in names.items():
            shown = data.declared.find(measure, metric).metric
            several = len([place for place in names if place[:2] == (measure, metric)]) > 1
            forms[dotted((measure, metric, task))] = Form(
                heading,
                shown.shown,
                shown.better,
                with_spread=not several or task == MEAN,
                logarithmic=shown.effect == "ratio",
            )
        keys = map(dotted, zip(cells["measure"], cells["metric"], cells["task"], strict=True))
        cells = with_blanks(
            cells.assign(source=OURS, key=[*keys], printed=pd.NA, confidence=pd.NA), blank_cells(data.tidy)
        )
        cells = in_order(cells, ORDER, data.looks, [*data.printed.models.values()])
        numbers, laid = lay_out(cells, forms, {})
        columns = present([*head_columns(numbers, data.looks), *laid])
        return Table(numbers.drop(columns=["source", "doubts"]), columns, mark_notes(columns, cells))
