"""Types of fields that the settings of several stages share."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    NonNegativeInt,
    PlainSerializer,
    PositiveInt,
)

from hfprune.assets.shipped import shipped
from hfprune.assets.spelling import FORMS
from hfprune.cells import CELL_COLUMNS, Cell
from hfprune.errors import HfpruneError
from hfprune.settings import Dtype, Strict
from hfprune.stages import AssetFlag, Input
from hfprune.study.paths import study_file


def _file(path: Path, suffix: str) -> Path:
    """Require the suffix, since other files with the same stem are written beside this one."""
    if path.suffix != suffix or path.is_dir():
        raise ValueError(f"must be a file ending in {suffix}, not {os.fspath(path)!r}")
    return path


def _study(path: Path) -> Path:
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or path.is_file():
        return shipped(path)
    try:
        return study_file(str(path))
    except HfpruneError as error:
        raise ValueError(str(error)) from error


def _cell(given: str | Cell) -> Cell:
    try:
        return given if isinstance(given, Cell) else Cell.parse(given)
    except HfpruneError as error:
        raise ValueError(str(error)) from error


Safetensors = Annotated[Path, AfterValidator(partial(_file, suffix=".safetensors"))]
Json = Annotated[Path, AfterValidator(partial(_file, suffix=".json"))]

ExistingPath = Annotated[Path, Input()]
# A plan, with the size of the pruned model beside it.
PlanFile = Annotated[Path, Input(("", ".json"))]
Given = TypeVar("Given", Path, Path | None)

DenseModel = Annotated[
    Path,
    AssetFlag("models"),
    Field(description=f"the dense model: a name in config/assets.yaml, {FORMS['models'].ways()}"),
]
Corpus = Annotated[
    Path,
    AssetFlag("corpora"),
    Field(description=f"text: a name in config/assets.yaml, {FORMS['corpora'].ways()}"),
]
Instructions = Annotated[
    Given,
    AssetFlag("instructions"),
    Field(description=f"instruction pairs: a name in config/assets.yaml, {FORMS['instructions'].ways()}"),
]
BatchTokens = Annotated[PositiveInt | None, Field(description="tokens of a forward pass (by device)")]
Seed = Annotated[NonNegativeInt, Field(description="number of the draw, which seeds every random choice")]
CellName = Annotated[
    Annotated[InstanceOf[Cell], BeforeValidator(_cell), PlainSerializer(str)] | None,
    Field(description=f"{'/'.join(CELL_COLUMNS)}, written into the result"),
]
# Paths that fall back to the package's files if the working folder has none; defaults need `validate_default`.
Shipped = Annotated[Path, AfterValidator(shipped)]
PaperFolder = Annotated[Shipped, Field(description="folder of the published tables", validate_default=True)]
CatalogueFile = Annotated[
    Shipped, Field(description="the catalogue of assets and their sources", validate_default=True)
]
Resources = Annotated[Path, Field(description="folder of the fetched assets")]
StudyPath = Annotated[Path, AfterValidator(_study)]
StudyFile = Annotated[StudyPath, Field(description="the study: its file, or its name in config/studies")]
ResultsFolder = Annotated[Path, Field(description="the study's results folder")]
CollectedFolder = Annotated[Path, Field(description="results folder, as `collect` wrote it")]
OutFolder = Annotated[Path | None, Field(description="folder to write (the results folder)")]


class Computing(Strict):
    """The flag of every command with passes of a model: the precision."""

    dtype: Dtype | None = Field(default=None, description="precision to compute in (as the model was saved)")
