"""No letter of a figure is clipped or stands on another, in what git holds and in studies of other shapes."""

from itertools import combinations
from pathlib import Path

import pytest
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from synthetic import PAPER, Study

from hfprune.report.figures import DRAWINGS, NEEDS, Collected, read_style, settle
from hfprune.report.figures.theme import RC

ROOT = Path(__file__).parents[2]


def letters(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Bbox]]:
    """Draw a figure; return every text that was drawn, with its place in pixels."""
    drawn = []
    draw = Text.draw

    def recorded(text: Text, renderer) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer)

    settle(figure)
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


def drawn_from(folder: Path) -> list[str]:
    return [name for name in DRAWINGS if all((folder / file).exists() for file in NEEDS.get(name, ()))]


@pytest.mark.parametrize("study", ["demo", "methods", "sensitivity", "draws", "families"])
def test_the_figures_of_what_git_holds(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "results" / study
    data = Collected(folder, PAPER)
    for name in drawn_from(folder):
        with style.context(["default", RC]):
            assert misplaced(DRAWINGS[name](data), monkeypatch) == [], name


def test_large_letters_of_a_users_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.mplstyle").write_text("font.size: 11\nfont.family: serif\n")
    over = read_style(tmp_path / "mine.mplstyle")
    data = Collected(ROOT / "results/sensitivity", PAPER)
    for name in ("fidelity", "comparison", "calibration", "claims"):
        with style.context(["default", RC, over]):
            assert misplaced(DRAWINGS[name](data), monkeypatch) == [], name


@pytest.mark.parametrize(
    "shape",
    [
        {"ratios": [0.2]},
        {"models": ["tiny-llama", "another-model-with-a-long-name"]},
        {"methods": ["entropy", "cross_entropy", "magnitude", "random", "fisher", "a", "b", "c", "d"]},
    ],
    ids=["one ratio", "two models", "nine methods"],
)
def test_studies_of_other_shapes(shape: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Study(tmp_path, layers=3, neurons=32, **shape).write().collect()
    data = Collected(folder, PAPER)
    for name in drawn_from(folder):
        with style.context(["default", RC]):
            assert misplaced(DRAWINGS[name](data), monkeypatch) == [], name


def test_a_clipped_and_an_overlapping_text_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure(figsize=(2, 1))
    figure.text(0.9, 0.5, "beyond the edge")
    figure.text(0.1, 0.1, "one")
    figure.text(0.12, 0.12, "two")
    assert misplaced(figure, monkeypatch) == ["'beyond the edge' is clipped", "'one' and 'two' overlap"]
