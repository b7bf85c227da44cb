"""Command-line flags from the fields of a settings class: name, type, default and help are written once, there.

A field `batch_tokens` is the flag `--batch-tokens`; its description is the help. A list takes several words, a
boolean has a `--no-` form, and argparse checks a choice of words. A field with structure (a dictionary, other
settings, a union) takes JSON, or a bare word. Pydantic validates every value.
"""

import argparse
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic.fields import FieldInfo

from hfprune.assets.spelling import FORMS
from hfprune.errors import HfpruneError
from hfprune.settings import Dtype, Model, Strict
from hfprune.shipped import shipped

NULL = "null"  # on the command line, as in a study


@dataclass(frozen=True)
class Positional:
    """Marks a field, in `Annotated`, as a positional argument; the help shows it as `metavar`."""

    metavar: str


@dataclass(frozen=True)
class AssetFlag:
    """Marks a field, in `Annotated`, as an asset of a kind, which `located` finds by any spelling."""

    kind: str


@dataclass(frozen=True)
class Alone:
    """Marks a field, in `Annotated`, whose flag may stand without a value, and what it then means."""

    value: str


def add_fields(parser: argparse.ArgumentParser, kind: type[Strict]) -> None:
    """Add the fields of `kind` to a parser; several classes may share one if no field has the same name.

    No flag has a default in the parser, so a namespace holds only the given flags; the class has the defaults.
    """
    for name, field in kind.model_fields.items():
        options = _form(field.annotation) | {"help": _help(field), "default": argparse.SUPPRESS}
        places = [item for item in field.metadata if isinstance(item, Positional)]
        if places:
            if not field.is_required():
                options["nargs"] = "*" if "nargs" in options else "?"
            parser.add_argument(name, metavar=places[0].metavar, **options)
        else:
            if "nargs" in options:  # words after one flag and after several mean the same
                options["action"] = "extend"
            for mark in (item for item in field.metadata if isinstance(item, Alone)):
                options |= {"nargs": "?", "const": mark.value}
            parser.add_argument(_flag(name), dest=name, required=field.is_required(), **options)


def read(kind: type[Model], namespace: argparse.Namespace) -> Model:
    """Build `kind` from the given flags; flags of other classes are ignored.

    Raises:
        HfpruneError: a value that `kind` refuses; the line starts with the flag.
    """
    given = {
        name: None if value == NULL else value
        for name, value in vars(namespace).items()
        if name in kind.model_fields
    }
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise HfpruneError(_line(kind, error)) from error


def located(config: Any) -> Any:
    """Return a configuration, or a tuple of them, in which every asset is the folder that it lies in.

    An asset that is not there is fetched; see `hfprune.assets.resolving`.

    Raises:
        HfpruneError: an asset that is not to be had; the line starts with the flag.
    """
    if isinstance(config, tuple):
        parts = map(located, config)
        return type(config)(*parts) if hasattr(config, "_fields") else tuple(parts)
    return config.model_copy(update=_folders(config)) if isinstance(config, Strict) else config


def _folders(settings: Strict) -> dict[str, Path]:
    places = {name: getattr(settings, name) for name in ("resources", "catalogue") if hasattr(settings, name)}
    found = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        for mark in (item for item in field.metadata if isinstance(item, AssetFlag) and value is not None):
            from hfprune.assets.resolving import resolve

            try:
                found[name] = resolve(mark.kind, value, **places)
            except HfpruneError as error:
                raise type(error)(f"{_flag(name)}: {error}") from error
    return found


def spell(settings: Strict) -> list[str]:
    """Return the command-line words from which `read` builds these settings."""
    words: list[str] = []
    for name, value in settings.model_dump(mode="json").items():
        if value is None:
            # Left out where it is the default anyway.
            words += [_flag(name), NULL] if type(settings).model_fields[name].default is not None else []
        elif isinstance(value, bool):
            words.append(_flag(name if value else f"no_{name}"))
        elif isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            words += [_flag(name), *map(str, value)]
        else:
            words += [_flag(name), json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return words


def _line(kind: type[Strict], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should ", "must ")
    message = message.replace("valid dictionary", "JSON object")
    if first["type"].endswith("_parsing"):  # "must be a valid integer, unable to parse string as an integer"
        message = message.partition(",")[0]
    # Our own validators name the value themselves where that helps.
    if first["type"] != "value_error" and isinstance(first["input"], str | int | float):
        message += f", not {first['input']!r}"
    if not first["loc"]:
        return message
    name, *inner = map(str, first["loc"])
    places = [item.metavar for item in kind.model_fields[name].metadata if isinstance(item, Positional)]
    return ": ".join([*(places or [_flag(name)]), *([".".join(inner)] if inner else []), message])


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _form(annotation: Any) -> dict[str, Any]:
    """Return the options of `add_argument` for a value of this type."""
    kind = _bare(annotation)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is list:
        return {"nargs": "+"} | _form(get_args(kind)[0])
    if get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind)):
        return {"choices": get_args(kind)}
    if kind in (int, float, str, Path):
        return {}
    return {"type": _word_or_json}


def _bare(annotation: Any) -> Any:
    """Return a type without its validators and without `None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation


def _word_or_json(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[", '"')):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error


def _help(field: FieldInfo) -> str:
    """Return the description, with the default unless it is empty, false or null."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        default = json.dumps(default.model_dump(mode="json", exclude_defaults=True))
    words = default if isinstance(default, list) else [default]
    shown = " ".join(json.dumps(word) if isinstance(word, dict) else str(word) for word in words)
    silent = field.is_required() or default is None or default is False or shown in ("", "{}")
    text = " ".join(filter(None, [field.description, "" if silent else f"({shown})"]))
    return text.replace("%", "%%")


# --- types of flags that several commands share ---------------------------------------------------------


def _file(path: Path, suffix: str) -> Path:
    """Require the suffix, since other files with the same stem are written beside this one."""
    if path.suffix != suffix or path.is_dir():
        raise ValueError(f"must be a file ending in {suffix}, not {os.fspath(path)!r}")
    return path


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    return path


def _cell(text: str) -> str:
    from hfprune.results import parse_cell

    try:
        parse_cell(text)
    except HfpruneError as error:
        raise ValueError(str(error)) from error
    return text


Safetensors = Annotated[Path, AfterValidator(partial(_file, suffix=".safetensors"))]
Json = Annotated[Path, AfterValidator(partial(_file, suffix=".json"))]
Parquet = Annotated[Path, AfterValidator(partial(_file, suffix=".parquet"))]

ExistingPath = Annotated[Path, AfterValidator(_existing)]

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
    Path,
    AssetFlag("instructions"),
    Field(description=f"instruction pairs: a name in config/assets.yaml, {FORMS['instructions'].ways()}"),
]
BatchTokens = Annotated[PositiveInt | None, Field(description="tokens of a forward pass (by device)")]
ComputeDtype = Annotated[Dtype | None, Field(description="precision to compute in (as the model was saved)")]
Seed = Annotated[NonNegativeInt, Field(description="seed of every random draw")]
CellName = Annotated[
    Annotated[str, AfterValidator(_cell)] | None,
    Field(description="study/model/method/ratio/seed/recovery, written into the result"),
]
# Paths that the package has where the working folder has none; a default needs `validate_default`.
Shipped = Annotated[Path, AfterValidator(shipped)]
PaperFolder = Annotated[Shipped, Field(description="published tables", validate_default=True)]
StudyFile = Annotated[Shipped, Field(description="the study")]
ResultsFolder = Annotated[Path, Field(description="the study's results folder")]
CollectedFolder = Annotated[
    Path | None, Field(description="folder that `collect` wrote to (the results folder)")
]
