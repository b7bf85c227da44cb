"""The tables and figures of a study, one file each; their names and captions are read without importing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hfprune.errors import HfpruneError, nearest
from hfprune.plugins.registry import Registry
from hfprune.settings import Strict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hfprune.report.typeset import Table
    from hfprune.results.reader import Results

Kind = Literal["tables", "figures"]


class Publication(Strict, ABC):
    """A table or a figure in a file of its own, whose docstring is the caption."""

    order: ClassVar[int]
    """Its position in lists and on the page; names break ties."""
    reads: ClassVar[tuple[str, ...]] = ()
    """The files of the results folder that it needs besides `results.csv`, such as `claims.csv`."""
    shows: ClassVar[str] = ""
    """Kinds of measure, recovery and calibration (`sizes` or `whole`), separated by blanks. A study with none of
    them leaves the publication out."""


class TablePublication(Publication):
    """A table in `hfprune/report/tables/`, or in another package by an entry point `hfprune.report.tables`."""

    empty: ClassVar[str] = "Nothing was measured."
    """The note of a table without rows."""

    @abstractmethod
    def make(self, data: Results) -> Table:
        """Make the table from a study's results."""


class FigurePublication(Publication):
    """A figure in `hfprune/report/figures/`, or in another package by an entry point `hfprune.report.figures`."""

    empty: ClassVar[str] = "Not measured"
    """The sentence that replaces a figure without values."""

    @abstractmethod
    def values(self, data: Results) -> pd.DataFrame:
        """Return what the figure draws, which the page shows as a table; empty if there is nothing to draw."""

    @abstractmethod
    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        """Draw the values."""


TABLES = Registry("hfprune.report.tables", TablePublication, ("order",), word="table")  # type: ignore[type-abstract]
FIGURES = Registry("hfprune.report.figures", FigurePublication, ("order",), word="figure")  # type: ignore[type-abstract]


def publication_names(kind: Kind) -> list[str]:
    """Return the names of all tables or figures in their order, without importing them."""
    outlines = _registry(kind).outlines()
    return sorted(outlines, key=lambda name: (outlines[name].constants.get("order", 0), name))


def caption(kind: Kind, name: str) -> str:
    """Return the caption of a table or figure in one line, without importing it."""
    return " ".join(_registry(kind).outlines()[name].doc.split())


def checked_names(kind: Kind, names: list[str]) -> list[str]:
    """Return these names of tables or figures.

    Raises:
        ValueError: one does not exist; names the nearest.
    """
    there = publication_names(kind)
    for name in names:
        if name not in there:
            raise ValueError(f"no {_registry(kind).word} {name!r}{nearest(name, there)}")
    return names


def absent(kind: Kind, folder: Path, only: Collection[str] | None = None) -> dict[str, list[str]]:
    """Return the tables or figures that cannot be made from a results folder, with the files that it lacks.

    Raises:
        HfpruneError: one of `only` cannot be made.
    """
    registry = _registry(kind)
    incomplete = {
        name: lacking
        for name in only or publication_names(kind)
        if (lacking := [file for file in registry.load(name).reads if not (folder / file).exists()])
    }
    if only and incomplete:
        name, files = next(iter(incomplete.items()))
        raise HfpruneError(f"{folder}: no {' and no '.join(files)}, which the {registry.word} {name} needs")
    return incomplete


def _registry(kind: Kind) -> Registry[Any]:
    return TABLES if kind == "tables" else FIGURES
