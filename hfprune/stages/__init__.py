"""The contract of a stage: settings, whose fields declare the files that it reads and writes, and its work.

Every other file in this folder with a class that has an `example` is a stage, and a command of its name. A job of
a study is an instance of a stage (`hfprune.stages.jobs`).
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
    """Marks a field, in `Annotated`, whose flag may be given without a value, which is then this `value`."""

    value: str


@dataclass(frozen=True)
class Inline:
    """Marks a field of settings, in `Annotated`, whose own fields are flags of the command."""


@dataclass(frozen=True)
class Unflagged:
    """Marks a field, in `Annotated`, that is set by jobs of a study and has no flag."""


@dataclass(frozen=True)
class AssetFlag:
    """Marks a field, in `Annotated`, as an asset of a kind, in any spelling; its `asset.json` is an input."""

    kind: str


@dataclass(frozen=True)
class Input:
    """Marks a field, in `Annotated`, as a file or folder that must exist when the stage runs."""

    files: tuple[str, ...] = ("",)
    """Files that are read: "" for the path itself, the name of a file in it, or the suffix of a file beside it."""
    ancient: bool = False
    """Whether its age does not matter, since other inputs tell whether it has changed."""


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
    """Return the marks within a type, such as `Annotated[Path, …] | None` or a list of such types."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return [*marks, *_inner_marks(inner)]
    if get_origin(annotation) in (Union, UnionType, list):
        return [mark for part in get_args(annotation) for mark in _inner_marks(part)]
    return []


class Command(Strict):
    """Settings of a command, which are its flags, and its work."""

    example: ClassVar[str]
    """A call that the help shows."""
    resumes: ClassVar[bool] = False
    """Whether the same call, after a kill, keeps finished work."""

    def run(self) -> bool | None:
        """Do the work; return False if it had been done before."""
        raise NotImplementedError


class Stage(Command):
    """Settings of a stage, which is called by hand or is a job of a study."""

    resumes = True
    work: ClassVar[Literal["core", "device", "machine"]] = "core"
    """Resources. `core`: one core, without passes of a model. `device`: a GPU, or a core. `machine`: a GPU, or all
    cores."""

    after: Annotated[list[Path], Input(), Unflagged()] = Field(
        default=[],
        description="files that must exist first, although they are not read: they tell that something has "
        "changed, or that something fits",
    )

    @model_validator(mode="before")
    @classmethod
    def _narrow_to_declared(cls, data: Any) -> Any:
        """Reduce settings of a subclass, such as a study's, to the class that the field declares."""
        if not isinstance(data, dict):
            return data
        return {name: _narrowed(cls, name, value) for name, value in data.items()}

    @property
    def stage(self) -> str:
        """The name of the stage, which is that of its command."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def takes(self) -> Literal["core", "device", "machine"]:
        """The resources that the job occupies, as in `work`; a measurement of time takes the whole machine."""
        return "machine" if self.timed else self.work

    @property
    def timed(self) -> bool:
        """Whether it measures times, so that nothing else may run meanwhile."""
        return False

    def versions(self) -> list[int]:
        """Return the versions of criteria or measures that it runs; a raised version repeats the job."""
        return []

    def named_inputs(self) -> dict[str, list[Path]]:
        """Return the distinct files that must exist first, by the names of the fields that give them."""
        required = [(name, path / "asset.json") for name, _, path in _marked(self, AssetFlag)]
        required += [
            (name, file) for name, mark, path in _marked(self, Input) for file in _files(path, mark.files)
        ]
        # Files that are read come before files that only have to exist.
        required.sort(key=lambda named: named[0] == "after")
        inputs, seen = dict[str, list[Path]](), {*self.outputs()}
        for name, file in required:
            if file not in seen:
                inputs.setdefault(name, []).append(file)
                seen.add(file)
        return inputs

    def inputs(self) -> list[Path]:
        """Return the files that must exist first."""
        return [file for files in self.named_inputs().values() for file in files]

    def ancient(self) -> list[Path]:
        """Return those of the inputs whose age does not matter."""
        marked = _marked(self, Input)
        return [file for _, mark, path in marked if mark.ancient for file in _files(path, mark.files)]

    def outputs(self) -> list[Path]:
        """Return the files that it writes."""
        return [file for _, mark, path in _marked(self, Output) for file in _files(path, mark.files)]

    def sources(self) -> dict[str, Path]:
        """Return every given asset and input by role, for the provenance of the result."""
        sources = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if mark_of(field, AssetFlag) and value:
                sources[name] = value
            elif (mark := mark_of(field, Input)) and isinstance(value, Path):
                sources[name] = next(_files(value, mark.files))
        return sources

    def model_name(self) -> str:
        """Return the name of the model that it reads, as in the study if there is one; "" if it reads none."""
        return next((cell.model for cell in self.named_cells()), getattr(self, "model", Path()).name)

    def named_cells(self) -> list[Cell]:
        """Return the cells of a study that it works on."""
        return [cell for part in _parts(self) if (cell := getattr(part, "cell", None))]

    def about(self) -> str:
        """Return the model and the cells, for messages."""
        cells = self.named_cells()
        first = list[str]()
        if cells:
            parts = cells[0].method, spelt_ratio(cells[0].ratio), f"draw {cells[0].draw}"
            first = [" ".join(filter(None, parts))]
        if len(cells) > 1:
            first.append(f"and {len(cells) - 1} more cells")
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
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Strict):
                yield from _parts(item)


def _marked(settings: Strict, kind: type[Mark]) -> Iterator[tuple[str, Mark, Path]]:
    """Yield names, marks and paths of the fields with a mark of this kind, nested settings included."""
    for part in _parts(settings):
        for name, field in type(part).model_fields.items():
            value = getattr(part, name)
            if value and (mark := mark_of(field, kind)):
                yield from ((name, mark, path) for path in (value if isinstance(value, list) else [value]))


def _files(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield the files of a path; see `Input`."""
    for name in names:
        yield path.with_suffix(name) if name.startswith(".") else path / name
