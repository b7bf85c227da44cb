"""Makes and writes the tables of a study."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from hfprune.errors import REASON, explained
from hfprune.report.publication import TABLES, absent, caption, publication_names
from hfprune.report.typeset import Column, Table, write_table
from hfprune.results.reader import Results


def write_tables(
    folder: Path, paper: Path, out: Path, only: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Write tables as `<name>.csv`, `.md` and `.tex`.

    Returns:
        The names that were not written, with the files that they lack.
    """
    data, lacking = Results(folder, paper), absent("tables", folder, only)
    for name in [name for name in only or publication_names("tables") if name not in lacking]:
        write_table(out, name, make_table(name, data))
    return lacking


def make_table(name: str, data: Results) -> Table:
    """Make a table with its caption; a table without rows has the head columns and a note.

    Raises:
        HfpruneError: the results lack a method, metric or column that the table needs.
    """
    publication = TABLES.load(name)()
    text = (
        f"{data.folder}: the table {name} finds no {REASON} there; run `hfprune collect` and `effects` again"
    )
    with explained(text, KeyError):  # a method, metric or column that another file has
        table = publication.make(data)
    if table.numbers.empty:
        columns = [Column(heading, [], words=True) for heading in ("Ratio", "Method")]
        table = Table(table.numbers, columns, [publication.empty], (), "")
    return replace(table, caption=caption("tables", name))
