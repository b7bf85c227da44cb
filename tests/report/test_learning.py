"""Table and figure of learning curves, by hand."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
from matplotlib.axes import Axes
from synthetic import PAPER, Study

from hfprune.analysis.tidy import RECORDS, read_union, write_union
from hfprune.errors import HfpruneError
from hfprune.report.collected import Collected
from hfprune.report.drawing.writing import write_figures
from hfprune.report.writing import write_tables

STEPS, TOKENS = [0, 1, 2, 4], [0, 100, 200, 400]
ENDS = {("dense", 0.0): 2.0, ("entropy", 0.2): 2.5, ("entropy", 0.3): 3.0}


def recovered(folder: Path) -> Path:
    """A collected study whose curves fall by a tenth with each point."""
    study = Study(folder, methods=["entropy"])
    for method, ratio in ENDS:
        study.outcomes(method, ratio, "perplexity", np.linspace(1.0, 2.0, 8), metric="nll")
    study.collect()
    add_curves(folder, "lora")
    return folder


def add_curves(folder: Path, recovery: str) -> None:
    """Add records of recoveries."""
    rows = [
        {"model": "tiny-llama", "method": method, "ratio": ratio, "seed": 0, "recovery": recovery}
        | {"measure": "recovery", "task": "pairs", "curve": json.dumps([*points(end)])}
        for (method, ratio), end in ENDS.items()
    ]
    records = pd.concat([read_union(folder / RECORDS), pd.DataFrame(rows)], ignore_index=True)
    write_union([records], folder / RECORDS)


def points(end: float) -> Iterator[dict]:
    for place, (step, tokens) in enumerate(zip(STEPS, TOKENS, strict=True)):
        point = {"step": step, "tokens": tokens, "loss": end + 0.3 - 0.1 * place, "stderr": 0.05, "n": 8}
        doubling = {"doubling": -0.1, "doubling_low": -0.125, "doubling_high": -0.075}
        yield point | (doubling if step > 1 else {})


def test_the_table_has_the_end_of_every_curve_and_its_last_doubling(tmp_path: Path) -> None:
    write_tables(recovered(tmp_path), PAPER, tmp_path / "tables")
    numbers = pd.read_csv(tmp_path / "tables/learning.csv")
    assert [*zip(numbers["method"], numbers["ratio"], strict=True)] == [*ENDS]
    assert np.allclose(numbers["loss"], [*ENDS.values()])
    assert np.allclose(numbers["loss_before"], numbers["loss"] + 0.3)
    assert (numbers[["step", "tokens"]] == [4, 400]).all(axis=None) and (numbers["doubling"] == -0.1).all()
    text = (tmp_path / "tables/learning.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| 20%"))
    shown = [part.strip() for part in line.strip("|").split("|")]
    interval = "[-0.125, -0.075]"
    assert shown == ["20%", "Entropy", "4", "400", "2.800", "2.500 ± 0.050", "-0.100", interval, "8"]
    assert "run of half the budget may end lower or higher" in " ".join(text.split())
    assert r"\label{tab:learning}" in (tmp_path / "tables/learning.tex").read_text()


def drawn(axes: list[Axes]) -> dict[str, list[list[float]]]:
    """Return title → the losses of each curve; a gap parts those of one method."""
    found = {}
    for ax in axes:
        lines = [np.asarray(line.get_ydata(), float) for line in ax.lines]
        values = [line for line in lines if np.isnan(line).any()]
        parts = [
            part[~np.isnan(part)]
            for line in values
            for part in np.split(line, np.flatnonzero(np.isnan(line)))
        ]
        found[ax.get_title(loc="left")] = [[*part.round(6)] for part in parts if len(part)]
    return found


def test_the_figure_has_a_panel_per_ratio_with_the_dense_model(tmp_path: Path) -> None:
    figure = figure_of("learning", Collected(recovered(tmp_path), PAPER))
    curves = {method: [end + 0.2, end + 0.1, end] for method, end in ENDS.items()}
    assert {
        name: [[*map(float, curve)] for curve in shown] for name, shown in drawn(figure.axes).items()
    } == {
        f"tiny-llama, {100 * ratio:.0f}% removed": [
            pytest.approx(curves["dense", 0.0]),
            pytest.approx(curves["entropy", ratio]),
        ]
        for ratio in (0.2, 0.3)
    }
    for ax, end in zip(figure.axes, (2.5, 3.0), strict=True):
        assert ax.get_xscale() == "log"
        hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
        before = {(line.get_xdata()[0], round(line.get_ydata()[0], 6)) for line in hollow}
        assert before == {(50, 2.3), (50, end + 0.3)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Dense", "Entropy"]
    assert "half the budget may end elsewhere" in figure.legends[0].get_title().get_text().replace("\n", " ")


def test_curves_of_several_recoveries_are_lines_of_their_own(tmp_path: Path) -> None:
    """As of `recoveries: [lora, [linear, lora]]`."""
    add_curves(recovered(tmp_path), "linear+lora")
    axes = figure_of("learning", Collected(tmp_path, PAPER)).axes
    assert [[len(curve) for curve in shown] for shown in drawn(axes).values()] == [[3] * 4] * 2


def test_a_study_without_recovery_says_so(collected: Path, tmp_path: Path) -> None:
    said = write_figures(collected, PAPER, tmp_path, formats=["svg"])
    assert said["learning"] == "Learning curves of recovery: not measured"
    write_tables(collected, PAPER, tmp_path, ["learning"])
    assert "No recovery was measured" in (tmp_path / "learning.md").read_text()


def test_files_that_do_not_belong_together_end_in_one_line(tmp_path: Path) -> None:
    folder = recovered(tmp_path)
    heading = (folder / "results.csv").read_text().splitlines()[0]
    (folder / "results.csv").write_text(heading + "\n")
    with pytest.raises(
        HfpruneError, match=r"the table learning finds no 'dense' there; run `hfprune collect`"
    ):
        write_tables(folder, PAPER, tmp_path / "tables", ["learning"])
