"""Command-line flags from the fields of a settings class, which define name, type, default and help.

A field `batch_tokens` is the flag `--batch-tokens`; its description is the help. A list takes several words, a
boolean has a `--no-` form, and argparse checks a choice of words. A field with structure (a dictionary, other
settings, a union) takes JSON, or a bare word. Pydantic validates every value. `--settings` gives many fields at
once, as a job of the workflow does; a flag beside it wins.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hfprune.commands.parser import Parser
from hfprune.errors import HfpruneError
from hfprune.settings import Model, Strict
from hfprune.stages import Alone, AssetFlag, Inline, Input, Positional, Unflagged, mark_of

NULL = "null"  # on the command line, as in a study
SETTINGS = "--settings"


def add_fields(
    parser: Parser,
    kind: type[Strict],
    required: bool = True,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Add the fields of `kind` to a parser; several classes may share one if no field has the same name.

    No flag has a default in the parser, so a namespace holds only the given flags; the class has the defaults.

    Args:
        parser: parser to extend.
        kind: settings class.
        required: whether the parser itself requires the flags without a default.
        groups: heading → names of the fields that the help lists under it; other fields come first.
    """
    groups = groups or {}
    grouped = [name for names in groups.values() for name in names]
    rest = [name for name in kind.model_fields if name not in grouped]
    sections: list[tuple[Any, Sequence[str]]] = [(parser, rest)]
    sections += [(parser.add_argument_group(title), names) for title, names in groups.items()]
    for group, names in sections:
        for name in names:
            _add_field(parser, group, name, kind.model_fields[name], required)


def _add_field(parser: Parser, group: Any, name: str, field: FieldInfo, required: bool) -> None:
    if mark_of(field, Unflagged):
        return
    if mark_of(field, Inline):
        add_fields(parser, _bare(field.annotation), required and field.is_required())
        return
    options = _form(field.annotation) | {"help": _help(field, required), "default": argparse.SUPPRESS}
    if positional := mark_of(field, Positional):
        if not field.is_required():
            options["nargs"] = "*" if "nargs" in options else "?"
        parser.note(group.add_argument(name, metavar=positional.metavar, **options))
        return
    if "nargs" in options:  # a repeated flag adds to the list
        options["action"] = "extend"
    if alone := mark_of(field, Alone):
        options |= {"nargs": "?", "const": alone.value}
    asked = required and field.is_required()
    parser.note(group.add_argument(flag(name), dest=name, required=asked, **options))


def add_settings(parser: Parser) -> None:
    """Add `--settings` to a parser; its value is a dictionary, from a JSON object or a file of one."""
    text = "the flags as a JSON object, or a file that holds one, as the workflow gives them"
    options: dict[str, Any] = {"metavar": "JSON|FILE", "type": _settings, "default": argparse.SUPPRESS}
    parser.note(parser.add_argument(SETTINGS, help=text, **options))


def _settings(text: str) -> dict[str, object]:
    try:
        settings = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"neither JSON nor a file of it: {error}") from error
    if not isinstance(settings, dict):
        raise argparse.ArgumentTypeError("give a JSON object, {…}")
    return settings


def read(kind: type[Model], namespace: argparse.Namespace) -> Model:
    """Build `kind` from the given flags; flags of other classes are ignored, but not unknown keys of `--settings`.

    Raises:
        HfpruneError: a value that `kind` refuses; the line starts with the flag.
    """
    flags = {name: None if value == NULL else value for name, value in vars(namespace).items()}
    try:
        return kind.model_validate(_given(kind, flags, flags.get("settings") or {}))
    except ValidationError as error:
        raise HfpruneError(_line(kind, error)) from error


def _given(kind: type[Strict], flags: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a class's fields from `--settings` and flags; a flag wins."""
    fields = settings | {name: value for name, value in flags.items() if name in kind.model_fields}
    for name, field in kind.model_fields.items():
        if mark_of(field, Inline):
            inner = _given(_bare(field.annotation), flags, settings.get(name, {}))
            fields |= {name: inner} if inner else {}
    return fields


def located(config: Any) -> Any:
    """Return a configuration in which every asset is replaced by its folder, nested settings included.

    A missing asset is fetched (`hfprune.assets.resolving`).

    Raises:
        HfpruneError: an asset cannot be fetched, or a file does not exist; the line starts with the flag.
    """
    if isinstance(config, list):
        return [located(item) for item in config]
    if not isinstance(config, Strict):
        return config
    given = {name: value for name, value in config if value is not None}
    fields = {name: type(config).model_fields[name] for name in given}
    for name, field in fields.items():  # checked before anything is fetched
        if mark_of(field, Input) and isinstance(given[name], Path) and not given[name].exists():
            raise HfpruneError(f"{flag(name)}: {given[name]}: no such file or folder")
    values = {name: located(value) for name, value in given.items() if isinstance(value, list | Strict)}
    for name, field in fields.items():
        if asset := mark_of(field, AssetFlag):
            values[name] = _folder(asset.kind, given[name], name, config)
    return config.model_copy(update=values)


def _folder(kind: str, value: Path, name: str, config: Strict) -> Path:
    from hfprune.assets.resolving import resolve

    folders = {key: getattr(config, key) for key in ("resources", "catalogue") if hasattr(config, key)}
    try:
        return resolve(kind, value, **folders)
    except HfpruneError as error:
        raise type(error)(f"{flag(name)}: {error}") from error


def _line(kind: type[Strict], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should ", "must ")
    message = message.replace("valid dictionary", "JSON object")
    if first["type"].endswith("_parsing"):  # "must be a valid integer, unable to parse string as an integer"
        message = message.partition(",")[0]
    # Our own validators name the value if that helps.
    if first["type"] != "value_error" and isinstance(first["input"], str | int | float):
        message += f", not {first['input']!r}"
    if not first["loc"]:
        return message
    name, *inner = map(str, first["loc"])
    field = kind.model_fields.get(name)
    if inner and field and mark_of(field, Inline):
        name, *inner = inner
    positional = field and mark_of(field, Positional)
    shown = positional.metavar if positional else flag(name)
    inner = [part for part in inner if not part.isdigit()]  # the value itself is named
    return ": ".join([shown, *([".".join(inner)] if inner else []), message])


def flag(name: str) -> str:
    """Return the flag of a field: `--batch-tokens` for `batch_tokens`."""
    return "--" + name.replace("_", "-")


def _form(annotation: Any) -> dict[str, Any]:
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


def _help(field: FieldInfo, required: bool) -> str:
    """Return the description, followed by the default (unless empty, false or null) or by `required`."""
    text = field.description or ""
    if not field.is_required():
        shown = _shown(field.get_default(call_default_factory=True, validated_data={}))
    else:
        shown = "required" if required and not mark_of(field, Positional) else ""
    return " ".join(filter(None, [text, shown and f"({shown})"])).replace("%", "%%")


def _shown(default: Any) -> str:
    """Return a default as written on the command line; "" for an empty, false or null default."""
    if default is None or default is False or default in ("", {}, []):
        return ""
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(default) if default else ""
    if isinstance(default, dict) and not any(value is not None for value in default.values()):
        return " ".join(default)  # kinds of units without shares
    words = default if isinstance(default, list) else [default]
    return " ".join(json.dumps(word) if isinstance(word, dict) else str(word) for word in words)
