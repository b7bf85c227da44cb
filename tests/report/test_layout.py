"""No letter of a figure is clipped or stands on another, in what git holds and in studies of other shapes."""

from pathlib import Path

import pandas as pd
import pytest
from committed import COMMITTED, results_of
from drawings import check, misplaced
from matplotlib.figure import Figure
from synthetic import PAPER, Study

from hfprune.report.collected import Collected
from hfprune.report.drawing.writing import made_figure, read_style, theme
from hfprune.results import DENSE, Value


@pytest.mark.parametrize("study", COMMITTED)
def test_the_figures_of_finished_studies(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two models at two ratios are more than a page holds of learning curves, claims and tasks of a measure.
    large = {"model": ["smollm2-135m-instruct-q4"], "ratio": [0.2]} if study == "recovery" else {}
    checked = check(results_of(study), monkeypatch, **large)
    # One measured nothing but accuracy, after LoRA alone.
    assert ({"learning"} if study == "headline" else {"fidelity", "comparison", "answer"}) <= checked


def test_large_letters_of_a_users_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.mplstyle").write_text("font.size: 11\nfont.family: serif\n")
    over = read_style(tmp_path / "mine.mplstyle")
    data = Collected(results_of("methods"), PAPER)
    for name in ("fidelity", "comparison", "calibration", "claims"):
        with theme(over):
            assert misplaced(made_figure(name, data), monkeypatch) == [], name


def test_distributions_of_two_models_under_long_contexts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a finished demo: the names of models and the contexts have no place in common."""
    tokens = [" requirement", *"abcdefg", "!"]
    seen = {
        "rank": [1, 2, 3, 4, 5, 6, 7, 8, 90],
        "token": tokens,
        "is_target": [token == "!" for token in tokens],
        "probability": [0.1] * 9,
    }
    seen |= {"cross_entropy_gradient": [*[0.1] * 8, -0.9], "entropy_gradient": [-0.2] * 9}
    models = ["qwen2.5-coder-0.5b-instruct-q4", "smollm2-135m-instruct-q4"]
    more = {"distributions": {"corpus": "c4", "sequences": 4, "length": 8}}
    study = Study(tmp_path, models=models, methods=["entropy"], ratios=[0.2], more=more)
    for model in models:
        path = study.result(DENSE, 0.0, "distributions", "c4", Value("entropy", 1.25, 0.1, 4), model=model)
        levels = [
            pd.DataFrame(
                seen | {"level": level, "entropy": 1.25, "context": "and so it was said in the country."}
            )
            for level in (0.1, 0.5, 0.9)
        ]
        pd.concat(levels).to_parquet(path.with_suffix(".parquet"))
    study.collect()
    assert "distributions" in check(study.folder, monkeypatch)


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
    expected = {"accuracy", "fidelity", "tasks", "overlap", "agreement", "neurons"}
    assert check(folder, monkeypatch) == expected


def test_a_clipped_and_an_overlapping_text_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure(figsize=(2, 1))
    figure.text(0.9, 0.5, "beyond the edge")
    figure.text(0.1, 0.1, "one")
    figure.text(0.12, 0.12, "two")
    assert misplaced(figure, monkeypatch) == ["'beyond the edge' is clipped", "'one' and 'two' overlap"]
