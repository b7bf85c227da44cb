"""The page of one pruned model beside its dense model: one HTML file that needs no network."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

import hfprune
from hfprune.comparison.before_after import CAPABILITY, LEGEND, SPEED, BeforeAfter, class_of
from hfprune.comparison.rows import PARAMETERS
from hfprune.files import atomic_file, read_json
from hfprune.models.shape import own_sizes
from hfprune.page.html import template
from hfprune.runs import hardware
from hfprune.settings import plain


class Swept(NamedTuple):
    """The cuts that were tried to find a ratio: a table, its explanation, and a figure."""

    headers: list[str]
    rows: list[list[str]]
    explanation: str
    svg: bytes

    @property
    def figure(self) -> str:
        """The figure in base64."""
        return base64.b64encode(self.svg).decode()


def write_pruned_page(
    path: Path,
    model: Path,
    outcome: BeforeAfter,
    settings: Mapping[str, JsonValue],
    seconds: Mapping[str, float],
    sweep: Swept | None = None,
) -> None:
    """Write the page of one pruned model, atomically.

    Args:
        path: the HTML file.
        model: folder of the exported model; the page names it.
        outcome: the comparison, of which the page draws the capabilities as bars.
        settings: all settings of the call; None and empty ones are left out.
        seconds: wall time of each job by its title.
        sweep: the cuts that were tried to find the ratio; None if the ratio was given.
    """
    bars = [row for row in outcome.rows if class_of(row.measure) == CAPABILITY]
    page = template("pruned.html.j2").render(
        name=settings["model"],
        ratio=settings["ratio"],
        outcome=outcome,
        legend=LEGEND,
        bars=bars,
        longest=max((length for row in bars for length in (row.base, row.own)), default=0) or 1,
        timed=any(row.measure == SPEED for row in outcome.rows),
        parameters=next(row for row in outcome.rows if row.metric == PARAMETERS.metric.name),
        sweep=sweep,
        settings={key: plain(value) for key, value in settings.items() if value not in (None, {}, [])},
        seconds=seconds,
        hardware=hardware(),
        version=hfprune.__version__,
        folder=model.name,
        compact=own_sizes(read_json(model / "config.json")),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
