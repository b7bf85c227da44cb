"""The tables of a study: the paper's beside ours, and the others."""

from collections.abc import Iterator
from typing import Any

from hfprune.page.study import StudyResults
from hfprune.report.publication import absent, publication_names
from hfprune.report.writing import made_table

OWN_PART = ("claims",)  # tables with a part of the page to themselves


def read_all(study: StudyResults) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of each table: its title, headings, rows, which are `ours`, and notes."""
    without = {*absent("tables", study.data.folder), *OWN_PART}
    for name in [name for name in publication_names("tables") if name not in without]:
        table = made_table(name, study.data)
        columns = {
            column.heading: [cell.replace("**", "") for cell in column.cells] for column in table.columns
        }
        if table.section:
            columns = {table.section.capitalize(): table.numbers[table.section].tolist()} | columns
        rows = [*zip(*columns.values(), strict=True)]
        yield {
            "title": table.caption,
            "headings": [*columns],
            "rows": rows,
            "ours": [source == "ours" for source in columns.get("Source", ["ours"] * len(rows))],
            "notes": table.notes,
        }
