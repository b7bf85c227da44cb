"""List every criterion, measure and external baseline that a study may name; broken ones show their error."""

import inspect
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

from hfprune.errors import HfpruneError
from hfprune.registry import Registry, origin
from hfprune.settings import Strict

EXAMPLE = "hfprune methods"


class Config(Strict):
    """Flags of `hfprune methods`."""

    baselines: Path = Field(
        default=Path("workflow/rules/baselines"), description="folder of the baselines' rules"
    )


def run(config: Config) -> None:
    """Print the tables."""
    from hfprune.criteria import CRITERIA
    from hfprune.measures import MEASURES

    tables = registry_table(CRITERIA, "options"), registry_table(MEASURES, "settings")
    print(*tables, baselines_table(config.baselines), sep="\n\n")


def registry_table(registry: "Registry[Any]", fields: str) -> str:
    """Return an aligned table of criteria or of measures; a broken one shows its error."""
    rows = [_row(registry, name) for name in sorted(registry.sources())]
    return _aligned(rows, [registry.word, "needs", "source", fields, "what it is"])


def baselines_table(folder: Path) -> str:
    """Return an aligned table of the external baselines.

    Args:
        folder: holds one `.smk` file per baseline, whose first comment line describes it.
    """
    rows = [[file.stem, str(file), _first_comment(file)] for file in sorted(folder.glob("*.smk"))]
    return _aligned(rows, ["baseline", "source", "what it is"]) if rows else f"no baselines in {folder}"


def _aligned(rows: list[list[str]], headers: list[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


def _row(registry: "Registry[Any]", name: str) -> list[str]:
    source = " and ".join(map(origin, registry.sources()[name]))
    try:
        kind = registry.load(name)
    except HfpruneError as error:
        return [name, "-", source, "", f"error: {error}"]
    return [name, kind.needs, source, _options(kind), inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]]


def _options(kind: type[Strict]) -> str:
    return " ".join(f"{name}={_default(field)}" for name, field in kind.model_fields.items())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    text = repr(default) if isinstance(default, str) and default.split() != [default] else str(default)
    return text if len(text) < 40 else "…"


def _first_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("#").strip() for line in lines if line.startswith("#")), "")
