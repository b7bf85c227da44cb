"""The page of one pruned model beside its dense model: one HTML file that needs no network."""

from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import hfprune
from hfprune.analysis.before_after import CAPABILITY, HEADERS, SPEED, Row
from hfprune.files import atomic_file
from hfprune.page.html import template, text
from hfprune.provenance import hardware
from hfprune.settings import plain


class PrunedOutcome(NamedTuple):
    rows: list[Row]
    verdict: list[str]
    """Sentences on what was lost; empty if nothing was measured."""
    sample: dict[str, str]
    """A `prompt`, and what the models say `before` and `after`; empty if nothing was measured."""

    def sampled(self) -> list[str]:
        prompt = self.sample.get("prompt", "")
        return [f"{side:>6}: {prompt}{self.sample[side]!r}" for side in ("before", "after") if prompt]


def write_pruned_page(
    path: Path,
    model: Path,
    outcome: PrunedOutcome,
    settings: dict[str, Any],
    seconds: dict[str, float],
    sweep: dict[str, Any] | None = None,
) -> None:
    groups = {group: [*members] for group, members in groupby(outcome.rows, key=lambda row: row.group)}
    bars = groups.get(CAPABILITY, [])
    named = {row.name: row for row in outcome.rows}
    page = template("pruned.html.j2").render(
        name=settings["model"],
        ratio=settings["ratio"],
        headers=HEADERS[1:],
        groups=groups,
        bars=bars,
        longest=max((length for row in bars for length in (row.before or 0, row.after)), default=0) or 1,
        timed=SPEED in groups,
        parameters=named["parameters"],
        verdict=outcome.verdict,
        sample=outcome.sample,
        sweep=sweep,
        settings={key: plain(value) for key, value in settings.items() if value is not None},
        seconds=seconds,
        hardware=hardware(),
        version=hfprune.__version__,
        folder=model.name,
        style=text("page.css"),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
