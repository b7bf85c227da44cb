"""The contract of a stage: settings, whose fields say which files it reads and writes, and what it does.

Every other file in this folder with a class that has an `example` is a stage, and a command of its name. A job of
a study is an instance of a stage, and nothing else (`hfprune.stages.jobs`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from hfprune.cells import UNCALIBRATED, Cell
from hfprune.cells.recovery import Recovery
from hfprune.rounding import spelt_ratio
from hfprune.settings import Strict


@dataclass(frozen=True)
class Positional:
    """Marks a field, in `Annotated`, as a positional argument; the help shows it as `metavar`."""

    metavar: str


@dataclass(frozen=True)
class Alone:
    """Marks a field, in `Annotated`, whose flag may stand without a value, and what it then means."""

    value: str


@dataclass(frozen=True)
class Inline:
    """Marks a field of settings, in `Annotated`, whose own fields are flags of the command."""


@dataclass(frozen=True)
class Unflagged:
    """Marks a field, in `Annotated`, that is for jobs of a study and no flag."""


@dataclass(frozen=True)
class AssetFlag:
    """Marks a field, in `Annotated`, as an asset of a kind, found by any spelling; its `asset.json` is read."""

    kind: str


@dataclass(frozen=True)
class Input:
    """Marks a field, in `Annotated`, as a file or folder that must be there when the stage runs."""

    files: tuple[str, ...] = ("",)
    """What is read: the path itself, a file in that folder, or one beside it, by a suffix with its dot."""
    ancient: bool = False
    """Whether its age does not matter, since other inputs say whether it has changed."""


@dataclass(frozen=True)
class Output:
    """Marks a field, in `Annotated`, as a file or folder that the stage writes; `files` as for `Input`."""

    files: tuple[str, ...] = ("",)


Mark = TypeVar("Mark")


def mark_of(field: FieldInfo, kind: type[Mark]) -> Mark | None:
    """Return the mark of this kind on a field, if it has one."""
    marks = [*field.metadata, *_inner_marks(field.annotation)]
    return next((mark for mark in marks if isinstance(mark, kind)), None)


def _inner_marks(annotation: Any) -> list[Any]:
    """Return the marks within a type, as those of `Annotated[Path, …] | None` or of a list of such."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return [*marks, *_inner_marks(inner)]
    if get_origin(annotation) in (Union, UnionType, list):
        return [mark for part in get_args(annotation) for mark in _inner_marks(part)]
    return []


class Command(Strict):
    """Settings of a command, which are its flags, and what it does."""

    example: ClassVar[str]
    """A call, for the help."""
    resumes: ClassVar[bool] = False
    """Whether the same call, after a kill, keeps what was finished."""

    def run(self) -> bool | None:
        """Do the work; return False if it was done before, so that nothing was made."""
        raise NotImplementedError


class Stage(Command):
    """Settings of a stage: how it is called by hand, and what a job of a study is."""

    resumes = True
    work: ClassVar[Literal["core", "device", "machine"]] = "core"
    """`core`: one core, and no pass of a model. `device`: a GPU, or a core. `machine`: all cores, or a GPU."""

    after: Annotated[list[Path], Input(), Unflagged()] = Field(
        default=[],
        description="files that must be there first, though nothing in them is read: they say that something has "
        "changed, or that something fits",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_what_fields_declare(cls, data: Any) -> Any:
        """Take settings that say more, such as a study's, as those that the field declares."""
        given = data if isinstance(data, dict) else {}
        return data if not given else {name: _narrowed(cls, name, value) for name, value in given.items()}

    @property
    def stage(self) -> str:
        """The name of the stage, which is that of its command."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def takes(self) -> Literal["core", "device", "machine"]:
        """What it occupies, as `work` has it; a measurement of time takes the whole machine."""
        return "machine" if self.timed else self.work

    @property
    def timed(self) -> bool:
        """Whether it measures times, so that nothing may run beside it."""
        return False

    def versions(self) -> list[int]:
        """Return the versions of the code that it runs, which make it run again when they are raised."""
        return []

    def named_inputs(self) -> dict[str, list[Path]]:
        """Return the files that must be there first, each once, by the names of the fields that give them."""
        found = [(name, path / "asset.json") for name, _, path in _marked(self, AssetFlag)]
        found += [
            (name, file) for name, mark, path in _marked(self, Input) for file in _files(path, mark.files)
        ]
        # What is read counts before what only has to be there.
        found.sort(key=lambda each: each[0] == "after")
        given, seen = dict[str, list[Path]](), {*self.outputs()}
        for name, file in found:
            if file not in seen:
                given.setdefault(name, []).append(file)
                seen.add(file)
        return given

    def inputs(self) -> list[Path]:
        """Return the files that must be there first."""
        return [file for files in self.named_inputs().values() for file in files]

    def ancient(self) -> list[Path]:
        """Return those of the inputs whose age does not matter."""
        marked = _marked(self, Input)
        return [file for _, mark, path in marked if mark.ancient for file in _files(path, mark.files)]

    def outputs(self) -> list[Path]:
        """Return the files that it writes."""
        return [file for _, mark, path in _marked(self, Output) for file in _files(path, mark.files)]

    def sources(self) -> dict[str, Path]:
        """Return what the result is made of, by role, for its provenance: every asset and input that is given."""
        found = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if mark_of(field, AssetFlag) and value:
                found[name] = value
            elif (mark := mark_of(field, Input)) and isinstance(value, Path):
                found[name] = next(_files(value, mark.files))
        return found

    def model_name(self) -> str:
        """Return the name of the model that it reads, which a study may have given it; empty if it reads none."""
        return next((cell.model for cell in self.named_cells()), getattr(self, "model", Path()).name)

    def named_cells(self) -> list[Cell]:
        """Return the cells of a study that it works on."""
        return [cell for part in _parts(self) if (cell := getattr(part, "cell", None))]

    def about(self) -> str:
        """Return the model and the cells, for messages."""
        cells = self.named_cells()
        said = [
            " ".join(filter(None, [cell.method, spelt_ratio(cell.ratio), f"draw {cell.draw}"]))
            for cell in cells
        ]
        first = said[:1] + [f"and {len(said) - 1} more cells"] * (len(said) > 1)
        calibrations = dict.fromkeys(cell.calibration for cell in cells if cell.calibration != UNCALIBRATED)
        recoveries = dict.fromkeys(
            cell.recovery.value for cell in cells if cell.recovery is not Recovery.NONE
        )
        return ", ".join([self.model_name() or "the study", *first, *calibrations, *recoveries])

    def to_json(self) -> str:
        """Return the settings as JSON, for `--settings`."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def _narrowed(kind: type[Strict], name: str, value: Any) -> Any:
    declared = kind.model_fields[name].annotation if name in kind.model_fields else None
    if not (isinstance(value, Strict) and isinstance(declared, type) and issubclass(declared, Strict)):
        return value
    return declared(**{field: getattr(value, field) for field in declared.model_fields})


def _parts(settings: Strict) -> Iterator[Strict]:
    yield settings
    for _, value in settings:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Strict):
                yield from _parts(each)


def _marked(settings: Strict, kind: type[Mark]) -> Iterator[tuple[str, Mark, Path]]:
    """Yield names and paths of the fields with a mark of this kind, those of settings within included."""
    for part in _parts(settings):
        for name, field in type(part).model_fields.items():
            value = getattr(part, name)
            if value and (mark := mark_of(field, kind)):
                yield from ((name, mark, path) for path in (value if isinstance(value, list) else [value]))


def _files(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield the files of a path; see `Input`."""
    for name in names:
        yield path.with_suffix(name) if name.startswith(".") else path / name
