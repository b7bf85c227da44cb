"""The tables of a study: the paper's beside ours, and the others."""

from collections.abc import Iterator
from typing import Any

from hfprune.page.study import StudyResults
from hfprune.report.publication import TABLES, absent, publication_names

OWN_PART = ("claims",)  # tables with a part of the page to themselves


def read_all(study: StudyResults) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of each table: `title`, `headings`, `rows`, which rows are `ours`, and `notes`.

    Raises:
        HfpruneError: as the tables.
    """
    without = {*absent("tables", study.data.folder), *OWN_PART}
    for name in publication_names("tables"):
        if name in without:
            continue
        table = TABLES.make(name, {}, name).make(study.data)
        shown = table.shown
        if table.sections is not None and len(shown):
            shown = shown.assign(Model=table.sections)[["Model", *shown]]
        yield {
            "title": table.caption,
            "headings": [*shown],
            "rows": [
                [cell.replace("**", "") for cell in row] for row in shown.astype(str).to_numpy().tolist()
            ],
            "ours": [source == "ours" for source in shown.get("Source", ["ours"] * len(shown))],
            "notes": table.notes,
        }
