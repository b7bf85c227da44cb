"""Figures for the tests: drawn from a study's results, and the places of their letters."""

from copy import copy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from synthetic import PAPER

from hfprune.report.drawing.figure_files import fix_layout, make_figure
from hfprune.report.drawing.panels import theme
from hfprune.report.publication import absent, publication_names
from hfprune.results.reader import Results


def figure_of(name: str, data: Results, **tables: Any) -> Figure:
    changed = copy(data)
    for table, rows in tables.items():
        setattr(changed, table, rows)
    figure = make_figure(name, changed)
    assert isinstance(figure, Figure), figure
    return figure


def letters(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Bbox]]:
    drawn = []
    draw = Text.draw

    def recorded(text: Text, renderer) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer)

    fix_layout(figure)
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", recorded)
        FigureCanvasAgg(figure).draw()
    return drawn


def misplaced(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return every text that is clipped, and every two that overlap by more than a pixel."""
    drawn = letters(figure, monkeypatch)
    width, height = figure.bbox.width, figure.bbox.height
    found = [
        f"{text!r} is clipped"
        for text, box in drawn
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > width + 0.5 or box.y1 > height + 0.5
    ]
    for (one, a), (other, b) in combinations(drawn, 2):
        across, along = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > 1 and along > 1:
            found.append(f"{one!r} and {other!r} overlap")
    return found


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, width: float = 6.9, **only: list[Any]) -> set[str]:
    """Check every figure that a results folder, or a part of it, has data for, and return their names."""
    data = Results(folder, PAPER, only)
    checked = set()
    for name in [name for name in publication_names("figures") if name not in absent("figures", folder)]:
        with theme({"figure.figsize": (width, 9.0)}):
            figure = make_figure(name, data)
            if isinstance(figure, Figure):
                assert misplaced(figure, monkeypatch) == [], f"{folder.name}: {name}"
                assert figure.get_figwidth() <= width, name
                # A page, or rows that stay legible where many are asked for.
                assert figure.get_figheight() <= max(9.5, 0.55 * len(figure.axes)) or width < 6.9, name
                assert min(ax.get_window_extent().height for ax in figure.axes) > 10, (
                    f"{name}: no room is left"
                )
                checked.add(name)
    return checked
