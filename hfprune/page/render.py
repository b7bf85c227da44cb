"""The page of one study or of several side by side: one HTML file that needs no network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup, escape

import hfprune
from hfprune.effects.condition import DETECTABLE, THRESHOLD
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.page import all_cells, claim_lines, headline, ran
from hfprune.page.html import template
from hfprune.page.study_results import StudyResults, read_study
from hfprune.report.drawing.figure_files import embedded_svg
from hfprune.report.looks import looks_of
from hfprune.report.publication import FIGURES, absent, caption, publication_names
from hfprune.report.table_files import make_table

MOST = 500  # rows of a table below a figure; the values of a larger one are in its file alone
OWN_PART = ("claims",)  # tables that have a part of the page of their own


@dataclass(frozen=True)
class FigureOnPage:
    """A figure with the values that it shows."""

    caption: str
    svg: Markup
    headings: list[str]
    rows: list[list[str]]
    """Empty where there are more than `MOST`."""
    count: int
    """The number of rows."""
    file: str
    """The file with the values."""


@dataclass(frozen=True)
class TableOnPage:
    """A table; `ours` tells which of its rows are measured in the study."""

    title: str
    headings: list[str]
    rows: list[tuple[str, ...]]
    ours: list[bool]
    notes: Sequence[str]


def write_page(folders: Sequence[Path], paper: Path, out: Path) -> None:
    """Write the page of the studies in these results folders to `out`, atomically.

    Raises:
        HfpruneError: a folder cannot be read or has no result, or two are of one study.
    """
    studies = [read_study(folder, paper, out.parent) for folder in folders]
    names = [study.name for study in studies]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise HfpruneError(f"two results folders are of one study, {min(repeated)!r}: give each study once")
    page = template("page.html.j2").render(
        several=len(studies) > 1,
        studies=studies,
        cards=[card for study in studies for card in headline.cards(study)],
        claims=claim_lines.lines(studies),
        signs=claim_lines.SIGNS,
        legend=(THRESHOLD, DETECTABLE),
        figures={study.name: figures_of(study) for study in studies},
        methods=all_cells.read_all(studies),
        tables={study.name: [*tables_of(study)] for study in studies},
        ran={study.name: ran.facts(study) for study in studies},
        version=hfprune.__version__,
    )
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def figures_of(study: StudyResults) -> dict[str, FigureOnPage]:
    """Return by name each figure with values; a figure whose files are missing is left out."""
    figures = {}
    without = absent("figures", study.data.folder)
    for name in [name for name in publication_names("figures") if name not in without]:
        if drawn := embedded_svg(name, study.data):
            svg, values = drawn
            words = caption("figures", name)
            values = values.dropna(axis=1, how="all")
            figures[name] = FigureOnPage(
                caption=words,
                svg=Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(words)}" ', 1)),
                headings=[str(column).replace("_", " ").capitalize() for column in values],
                rows=_texts(values, study) if len(values) <= MOST else [],
                count=len(values),
                file=next(iter(FIGURES.load(name).reads), "results.csv"),
            )
    return figures


def _texts(values: pd.DataFrame, study: StudyResults) -> list[list[str]]:
    labels = {method: look.label for method, look in looks_of(study.data).items()}
    shown = values.replace({name: labels for name in ("method", "reference") if name in values})
    return [
        ["" if pd.isna(x) else f"{x:.4g}" if isinstance(x, float) else str(x) for x in row]
        for row in shown.astype(object).to_numpy().tolist()
    ]


def tables_of(study: StudyResults) -> Iterator[TableOnPage]:
    """Yield each table whose files exist, except those in `OWN_PART`."""
    without = {*absent("tables", study.data.folder), *OWN_PART}
    for name in [name for name in publication_names("tables") if name not in without]:
        table = make_table(name, study.data)
        columns = {
            column.heading: [cell.replace("**", "") for cell in column.cells] for column in table.columns
        }
        if table.section:
            columns = {table.section.capitalize(): table.numbers[table.section].tolist()} | columns
        rows = [*zip(*columns.values(), strict=True)]
        sources = columns.get("Source", ["ours"] * len(rows))
        ours = [source == "ours" for source in sources]
        yield TableOnPage(table.caption, [*columns], rows, ours, table.notes)
