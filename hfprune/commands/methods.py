"""List the criteria and measures that a study may name; broken ones show their error."""

import inspect
from typing import Any, ClassVar

from pydantic.fields import FieldInfo

from hfprune.commands.parser import wrapped
from hfprune.errors import HfpruneError
from hfprune.plugins.registry import Registry, origin
from hfprune.stages import Command


class ListMethods(Command):
    """The available criteria and measures, those of other packages included."""

    example: ClassVar = "hfprune methods"

    def run(self) -> None:
        """Print the criteria with their options, and the measures with their settings."""
        from hfprune.criteria import CRITERIA
        from hfprune.measurement import MEASURES

        print(registry_list(CRITERIA, "options"), registry_list(MEASURES, "settings"), sep="\n\n\n")


def registry_list(registry: "Registry[Any]", fields: str) -> str:
    """Return one paragraph per criterion or measure, within the terminal's width; a broken one shows its error."""
    heading = f"{registry.word}: what it needs, and where it comes from"
    return "\n\n".join([heading, *(_entry(registry, name, fields) for name in sorted(registry.sources()))])


def _entry(registry: "Registry[Any]", name: str, fields: str) -> str:
    source = " and ".join(map(origin, registry.sources()[name]))
    indent = " " * 4
    try:
        kind = registry.load(name)
    except HfpruneError as error:
        return f"{wrapped(f'{name}: {source}', indent, '')}\n{wrapped(f'error: {error}', indent)}"
    lines = [wrapped(f"{name}: {kind.needs}, {source}", indent, "")]
    lines.append(wrapped(inspect.cleandoc(kind.__doc__ or "").partition("\n")[0], indent))
    if kind.model_fields:
        options = " ".join(f"{name}={_default(field)}" for name, field in kind.model_fields.items())
        lines.append(wrapped(options, indent * 2, f"{indent}{fields}: "))
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    text = repr(default) if isinstance(default, str) and default.split() != [default] else str(default)
    return text if len(text) < 40 else "…"
