"""Tables in Markdown."""

from collections.abc import Sequence

from tabulate import DataRow, TableFormat, tabulate

_ROW = DataRow("| ", " | ", " |")
# A row is as wide as its words: the claims' cells have many lines in one, to which others would be padded.
_UNPADDED = TableFormat(
    lineabove=None,
    linebelowheader=lambda widths, _aligned: f"| {' | '.join(['---'] * len(widths))} |",
    linebetweenrows=None,
    linebelow=None,
    headerrow=_ROW,
    datarow=_ROW,
    padding=0,
    with_header_hide=None,
)


def unpadded(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """Return a table whose cells have no more blanks than they need."""
    return tabulate(rows, heads, _UNPADDED, stralign=None, disable_numparse=True)


def linked(study: str, file: str) -> str:
    """Return the name of a study as a link from the pages to a file of its results."""
    return f"[{study}](../results/{study}/{file})"
