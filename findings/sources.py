"""The files of `findings/` that say which numbers, claims, figures and joint analyses the page has."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from hfprune.settings import Listed, Name, Strict, load

TABLES = "tables.yaml"
Some = Annotated[list[str], Listed]
SomeRatios = Annotated[list[float], Listed]
SomeSizes = Annotated[list[int], Listed]


# Columns that tell rows of a study's effects apart, and no claims.
ROWS_OF_STUDIES = (
    *("question", "calibration", "sequences", "method", "recovery", "against", "against_recovery"),
    *("outcome", "task", "turned"),
)


class Selection(Strict):
    """Rows of a table of effects: those whose columns have one of the given values. Nothing given: any value."""

    study: Name | None = Field(default=None, description="a folder of results")
    joint: Name | None = Field(default=None, description="in place of a study: an analysis of joint.yaml")
    claim: Name | None = Field(
        default=None, description="in place of both: a claim, in the studies that decide"
    )
    question: Some = Field(default=["reference"])
    model: Some | None = None
    calibration: Some | None = None
    sequences: SomeSizes | None = None
    ratio: SomeRatios | None = None
    method: Some | None = None
    recovery: Some | None = None
    against: Some | None = None
    against_recovery: Some | None = None
    outcome: Some | None = None
    task: Some = Field(default=[""])
    turned: bool = Field(
        default=False, description="the sides in the other order, as entropy less the method"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Selection":
        if sum(source is not None for source in (self.study, self.joint, self.claim)) != 1:
            raise ValueError("give one of study, joint and claim")
        # Where a claim stands on a model and ratio, one row decides.
        if self.claim and (more := self.model_fields_set & set(ROWS_OF_STUDIES)):
            raise ValueError(f"a claim takes model and ratio alone, not {', '.join(sorted(more))}")
        return self


class Number(Selection):
    """One effect of the page, or several of one kind."""

    bar: tuple[float, float] | None = Field(
        default=None,
        description="`meets` and `misses` tell whether a value is at most the first of these, with an interval "
        "that ends below the second",
    )


def _several(given: object) -> object:
    return given if isinstance(given, list) else [given]


class Numbers(Strict):
    """`numbers.yaml`: the names of models on the page, and numbers of the text that have names."""

    models: dict[Name, str]
    texts: dict[Name, str] = Field(description="names of texts, by the measures that read them")
    effects: dict[Name, Annotated[list[Number], BeforeValidator(_several)]]
    columns: dict[Name, str] = Field(description="forms of numbers that are no effects, by column")


class PanelOf(Strict):
    """A panel of a figure: effects, one below the other."""

    title: str
    claim: Name | None = Field(default=None, description="the rows of a claim in all of `studies`")
    studies: Some = Field(default=[])
    rows: list[Selection] = Field(default=[], description="or selections, whose rows follow each other")
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
    summary: dict[Name, Selection] = Field(
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
        """The studies whose numbers are in tables, figures and joint analyses, or decide claims."""
        panels = [panel for figure in self.figures.values() for panel in figure.panels]
        several = [
            *self.tables.candidates.values(),
            *(at.values() for at in self.deciding.values()),
            *(joint.studies for joint in self.joints.values()),
            *(panel.studies for panel in panels),
        ]
        rows = {asked.study for panel in panels for asked in panel.rows if asked.study}
        return rows | {self.tables.speed.study} | {study for studies in several for study in studies}
