"""The files of `findings/` that say which numbers, claims and figures the pages have."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from hfprune.settings import Listed, Name, Strict, load

Some = Annotated[list[str], Listed]


def source_of(selection: str) -> str:
    """Return the study or the claim from which a selection takes rows."""
    return selection.split()[0].partition("/")[0]


class Numbers(Strict):
    """`numbers.yaml`: the names of models on the page, and numbers of the text that have names."""

    models: dict[Name, str]
    texts: dict[Name, str] = Field(description="names of texts, by their names in config/assets.yaml")
    effects: dict[Name, Some] = Field(description="selections in words, whose rows follow each other")
    columns: dict[Name, str] = Field(description="forms of numbers that are no effects, by column")


class PanelOf(Strict):
    """A panel of a figure: effects one below the other."""

    title: str
    rows: Some = Field(description="selections in words, whose rows follow each other")
    names: list[str] = Field(
        default=[], description="a form for the names of each selection, as `{} on code`"
    )


class FigureOf(Strict):
    """A figure: panels one below the other, and the words that replace it where it cannot be seen."""

    words: str
    panels: list[PanelOf] = Field(min_length=1)


class Figures(Strict):
    """`figures.yaml`."""

    figures: dict[Name, FigureOf]
    summary: dict[Name, str] = Field(
        default={}, description="by claim, effects at no ratio of the paper, drawn below the claim's own"
    )


class Deciding(Strict):
    """`declared.yaml`: the study that decides each claim on each model."""

    claims: dict[Name, dict[str, Name]]


class Sources:
    """All of these files, in one folder, and the texts."""

    def __init__(self, folder: Path) -> None:
        """Read the files in a folder.

        Raises:
            HfpruneError: a file is missing or invalid; names the file and the key.
        """
        self.folder, self.texts = folder, sorted(folder.glob("*.md"))
        self.numbers = load(Numbers, folder / "numbers.yaml")
        drawn = load(Figures, folder / "figures.yaml")
        self.figures, self.summary = drawn.figures, drawn.summary
        self.deciding = load(Deciding, folder / "declared.yaml").claims

    @property
    def studies(self) -> set[str]:
        """The studies and claims behind figures, and the studies that decide claims."""
        panels = [panel for figure in self.figures.values() for panel in figure.panels]
        deciding = {study for by_model in self.deciding.values() for study in by_model.values()}
        drawn = {source_of(selection) for panel in panels for selection in panel.rows}
        return deciding | drawn
