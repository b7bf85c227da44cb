"""Writes the tables of a study."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from hfprune.report.collected import Collected
from hfprune.report.publication import TABLES, absent, caption, publication_names
from hfprune.report.typeset import without_rows, write_table


def write_tables(
    folder: Path, paper: Path, out: Path, only: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Write tables as `<name>.csv`, `.md` and `.tex`.

    The paper's tables have one row per model, method, ratio, recovery and source (`paper` or `ours`). The CSV has
    plain numbers, with accuracies in percent and ratios as fractions; the others have `value ± spread`.

    Args:
        folder: a results folder, with what `collect`, `claims` and `compare` wrote; of the tidy table the CSV is
            enough.
        paper: folder of the published tables and claims.
        out: folder, created if missing.
        only: names of tables; by default all.

    Returns:
        The names that were not written, with the files that they lack.

    Raises:
        HfpruneError: a file in `folder` or a published table is missing or broken; a task has no metric that the
            paper's rule knows; or a table that `only` names lacks its file.
    """
    data, lacking = Collected(folder, paper), absent("tables", folder, only)
    for name in [name for name in only or publication_names("tables") if name not in lacking]:
        publication = TABLES.load(name)()
        table = publication.make(data)
        if table.numbers.empty:
            table = without_rows(table.numbers, publication.empty)
        write_table(out, name, replace(table, caption=caption("tables", name)))
    return lacking
