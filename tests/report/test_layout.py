"""No letter of a figure is clipped or stands on another, in what git holds and in studies of other shapes."""

from pathlib import Path

import pytest
from committed import results_of
from drawings import check, misplaced
from matplotlib.figure import Figure
from synthetic import PAPER, Study

from hfprune.report.drawing.figure_files import make_figure, read_style
from hfprune.report.drawing.panels import theme
from hfprune.results.reader import Results

# One of each design.
DESIGNS = ("table7", "dose", "mechanism", "recovery", "accuracy")


@pytest.mark.parametrize(
    "study", ["demo", *(pytest.param(study, marks=pytest.mark.thorough) for study in DESIGNS)]
)
def test_the_figures_of_finished_studies(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = check(results_of(study), monkeypatch)
    assert {"effects", "answer"} <= checked


@pytest.mark.thorough
def test_the_column_of_a_page_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = check(results_of("demo"), monkeypatch, width=3.3)
    assert {
        "accuracy",
        "claims",
        "effects",
        "distributions",
        "learning",
        "tradeoff",
    } <= checked


def test_large_letters_of_a_users_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.mplstyle").write_text("font.size: 11\nfont.family: serif\n")
    over = read_style(tmp_path / "mine.mplstyle")
    data = Results(results_of("accuracy"), PAPER)
    for name in ("answer", "effects", "claims"):
        with theme(over):
            assert misplaced(make_figure(name, data), monkeypatch) == [], name
    figure = Figure(figsize=(2, 1))
    figure.text(0.9, 0.5, "beyond the edge")
    assert misplaced(figure, monkeypatch) == ["'beyond the edge' is clipped"]


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
    expected = {"accuracy", "tasks"}
    assert check(folder, monkeypatch) == expected
