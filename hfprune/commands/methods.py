"""List every criterion and measure that a study may name; broken ones show their error."""

import inspect
from typing import Any, ClassVar

from pydantic.fields import FieldInfo

from hfprune.errors import HfpruneError
from hfprune.plugins.registry import Registry, origin
from hfprune.stages import Command


class ListMethods(Command):
    """The criteria and measures that are found here, those of other packages included."""

    example: ClassVar = "hfprune methods"

    def run(self) -> None:
        """Print two tables, of criteria with their options and of measures with their settings."""
        from hfprune.criteria import CRITERIA
        from hfprune.measurement import MEASURES

        print(registry_table(CRITERIA, "options"), registry_table(MEASURES, "settings"), sep="\n\n")


def registry_table(registry: "Registry[Any]", fields: str) -> str:
    """Return an aligned table of criteria or of measures; a broken one shows its error."""
    from tabulate import tabulate

    rows = [_row(registry, name) for name in sorted(registry.sources())]
    headers = [registry.word, "needs", "source", fields, "what it is"]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


def _row(registry: "Registry[Any]", name: str) -> list[str]:
    source = " and ".join(map(origin, registry.sources()[name]))
    try:
        kind = registry.load(name)
    except HfpruneError as error:
        return [name, "-", source, "", f"error: {error}"]
    options = " ".join(f"{name}={_default(field)}" for name, field in kind.model_fields.items())
    return [name, kind.needs, source, options, inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    text = repr(default) if isinstance(default, str) and default.split() != [default] else str(default)
    return text if len(text) < 40 else "…"
