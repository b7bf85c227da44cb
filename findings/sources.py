"""The files of `findings/` that say which numbers, claims, figures and joint analyses the page has."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from hfprune.settings import Listed, Name, Strict, load

TABLES = "tables.yaml"
Some = Annotated[list[str], Listed]


def source_of(said: str) -> str:
    """Return the study, the joint analysis or the claim that words select rows of."""
    return said.split()[0].partition("/")[0]


class Numbers(Strict):
    """`numbers.yaml`: the names of models on the page, and numbers of the text that have names."""

    models: dict[Name, str]
    texts: dict[Name, str] = Field(description="names of texts, by the measures that read them")
    effects: dict[Name, Some] = Field(description="selections in words, whose rows follow each other")
    columns: dict[Name, str] = Field(description="forms of numbers that are no effects, by column")
    bars: dict[Name, tuple[float, float]] = Field(
        default={},
        description="by the name of effects: `met` and `missed` tell whether a value is at most the first of "
        "these, with an interval that ends below the second",
    )


class PanelOf(Strict):
    """A panel of a figure: effects, one below the other."""

    title: str
    claim: Name | None = Field(default=None, description="the rows of a claim in all of `studies`")
    studies: Some = Field(default=[])
    rows: Some = Field(default=[], description="or selections in words, whose rows follow each other")
    names: list[str] = Field(
        default=[], description="a form for the names of each selection, as `{} on code`"
    )


class FigureOf(Strict):
    """A figure: panels below each other, and the words that stand for it where it cannot be seen."""

    words: str
    panels: list[PanelOf] = Field(min_length=1)


class Figures(Strict):
    """`figures.yaml`."""

    figures: dict[Name, FigureOf]
    summary: dict[Name, str] = Field(
        default={}, description="by claim, effects at no ratio of the paper, drawn below the claim's own"
    )


class Joint(Strict):
    """An analysis of several studies together, on the draws of all and the items that all have."""

    declared: str = Field(description="the commit that declared it, before its results were seen")
    studies: Annotated[list[Name], Field(min_length=1)]
    entropies: Name | None = Field(
        default=None,
        description="a study with the dense models' output entropy on the same documents: effects over it",
    )
    models: Some
    methods: Some

    @model_validator(mode="after")
    def _several(self) -> "Joint":
        if len(self.studies) + bool(self.entropies) < 2:
            raise ValueError("give two studies or more, or one and `entropies`")
        return self


class Joints(Strict):
    """`joint.yaml`."""

    analyses: dict[Name, Joint]


class Deciding(Strict):
    """`declared.yaml`: the study that decides each claim on each model."""

    claims: dict[Name, dict[str, Name]]


class SpeedOf(Strict):
    """The study, and those of its methods, whose measured speed-ups are a table."""

    study: Name
    methods: Some


class Tables(Strict):
    """`tables.yaml`."""

    candidates: dict[Name, Annotated[list[Name], Field(min_length=1)]] = Field(
        description="by the table's name, the studies whose candidates the rule ranks together"
    )
    speed: SpeedOf


class Sources:
    """All of these files, in one folder, and the text."""

    def __init__(self, folder: Path) -> None:
        """Read them.

        Raises:
            HfpruneError: one is missing, or does not fit; names the file and the key.
        """
        self.text = folder / "findings.md"
        self.numbers = load(Numbers, folder / "numbers.yaml")
        drawn = load(Figures, folder / "figures.yaml")
        self.figures, self.summary = drawn.figures, drawn.summary
        self.joints = load(Joints, folder / "joint.yaml").analyses
        self.tables = load(Tables, folder / TABLES)
        self.deciding = load(Deciding, folder / "declared.yaml").claims

    @property
    def studies(self) -> set[str]:
        """The sources of tables and figures, the studies of joint analyses, and those that decide claims."""
        panels = [panel for figure in self.figures.values() for panel in figure.panels]
        several = [
            *self.tables.candidates.values(),
            *(at.values() for at in self.deciding.values()),
            *(joint.studies for joint in self.joints.values()),
            *(panel.studies for panel in panels),
        ]
        rows = {source_of(said) for panel in panels for said in panel.rows}
        return rows | {self.tables.speed.study} | {study for studies in several for study in studies}
