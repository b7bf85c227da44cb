"""Strict, typed settings: an unknown key fails with one line that gives its place and the nearest key."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from hfprune.errors import REASON, HfpruneError, explained, nearest, reading
from hfprune.rounding import rounded_ratio

# Names become folder names and Snakemake wildcards, so they hold no slash, blank or leading dot.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
# Fraction of all parameters that is removed; 0 for the dense model.
Ratio = Annotated[float, Field(ge=0, lt=1), AfterValidator(rounded_ratio)]
Removed = Annotated[Ratio, Field(gt=0)]
Dtype = Literal["float32", "bfloat16", "float16"]


def plain(value: Any) -> str:
    """Return the value of a setting as a user writes it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value


# Marks a list that may be written as its single value.
Listed = BeforeValidator(_listed)


def _parted(value: Any) -> Any:
    parts = _listed(value)
    if not isinstance(parts, list):
        return value
    words = (part.split(",") if isinstance(part, str) else [part] for part in parts)
    return [word for several in words for word in several if word != ""]


# Marks a list of words of which several may be joined by commas, as lm-eval takes its tasks.
Parted = BeforeValidator(_parted)


class Strict(BaseModel):
    """Base of every configuration model: frozen, and an unknown key is an error naming the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replaced: ClassVar[dict[str, str]] = {}
    """Keys of earlier versions, each with its replacement."""

    @model_validator(mode="before")
    @classmethod
    def _name_nearest_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key in cls.replaced:
                    raise ValueError(f"the key {key!r} is gone: {cls.replaced[key]}")
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}{nearest(str(key), [*cls.model_fields])}")
        return data


DeviceMap = Literal["auto", "disk"]


class Placement(Strict):
    """Where the weights lie; the values are those of transformers' `from_pretrained`."""

    device_map: DeviceMap | None = Field(
        default=None,
        description="auto: a model that is larger than a GPU is spread over all GPUs; disk: one that is larger "
        "than memory stays in its files and is read layer by layer, by the processor (one device)",
    )


Model = TypeVar("Model", bound=Strict)


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice in a mapping; YAML would keep the last silently."""

    def compose_mapping_node(self, anchor: dict[str, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is there twice", problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


def load(kind: type[Model], path: Path) -> Model:
    """Read `path` as YAML and validate it as `kind`.

    Raises:
        HfpruneError: the file is missing, is not YAML or does not fit `kind`; names the file and the key.
    """
    with reading(path), explained(f"{path}: not valid YAML: {REASON}", yaml.YAMLError, UnicodeDecodeError):
        data = yaml.load(path.read_text(encoding="utf-8"), _OnceLoader)
    return validate(kind, {} if data is None else data, str(path))


def validate(kind: type[Model], data: Any, where: str) -> Model:
    """Validate `data` as `kind`; the first error becomes one line that starts with `where`."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise HfpruneError(f"{where}: {key + ': ' if key else ''}{message}") from error
