"""All measures that the paper lacks."""

import pandas as pd

from hfprune.report.cells import OURS, head_columns, in_order, present
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.rows import ORDER, ROW, CellForm, lay_out, mark_notes, with_blanks
from hfprune.report.typeset import Table
from hfprune.report.values import dotted, headings, other_values, scaled
from hfprune.results.averages import MEAN
from hfprune.results.reader import Results


class MeasuresTable(TablePublication):
    """A column for each metric and task, as the measure declares it."""

    order = 9
    empty = "Nothing else was measured."

    def make(self, data: Results) -> Table:
        cells = scaled(other_values(data.levels, data.declared))
        if cells.empty:
            return Table(pd.DataFrame(columns=ROW[:-1]), [], [])
        names = headings(cells, data.declared)
        forms = {}
        for (measure, metric, task), heading in names.items():
            shown = data.declared.find(measure, metric).metric
            several = len([place for place in names if place[:2] == (measure, metric)]) > 1
            forms[dotted((measure, metric, task))] = CellForm(
                heading, shown.shown, shown.better, with_error=not several or task == MEAN
            )
        keys = map(dotted, zip(cells["measure"], cells["metric"], cells["task"], strict=True))
        cells = cells.assign(source=OURS, key=[*keys], printed=pd.NA, confidence=pd.NA)
        cells = with_blanks(cells, data.blanks, forms)
        cells = in_order(cells, ORDER, looks_of(data), [*data.printed.models.values()])
        numbers, laid = lay_out(cells, forms, {})
        columns = present([*head_columns(numbers, looks_of(data)), *laid])
        return Table(numbers.drop(columns=["source", "doubts"]), columns, mark_notes(columns, cells))
