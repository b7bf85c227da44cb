"""What there is to prune with: every criterion, and every external baseline."""

import inspect
from pathlib import Path

from tabulate import tabulate

from hfprune.criterion import Criterion, criterion_sources, load_criterion, origin
from hfprune.errors import HfpruneError


def describe_methods(baselines: Path) -> str:
    """Return aligned tables of the criteria and of the baselines; a broken criterion stands with its error.

    Args:
        baselines: folder with one `.smk` file per external baseline, whose first comment line describes it.
    """
    criteria = [_criterion_row(name) for name in sorted(criterion_sources())]
    files = sorted(baselines.glob("*.smk"))
    external = [[file.stem, str(file), _first_comment(file)] for file in files]
    return "\n\n".join(
        [
            _aligned(criteria, ["criterion", "needs", "source", "options", "what it is"]),
            _aligned(external, ["baseline", "source", "what it is"])
            if external
            else f"no baselines in {baselines}",
        ]
    )


def _aligned(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


def _criterion_row(name: str) -> list[str]:
    source = " and ".join(map(origin, criterion_sources()[name]))
    try:
        kind = load_criterion(name)
    except HfpruneError as error:
        return [name, "-", source, "", f"error: {error}"]
    return [name, kind.needs, source, _options(kind), inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]]


def _options(kind: type[Criterion]) -> str:
    fields = kind.model_fields.items()
    return " ".join(
        f"{name}={'required' if field.is_required() else field.get_default(call_default_factory=True)}"
        for name, field in fields
    )


def _first_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("#").strip() for line in lines if line.startswith("#")), "")
