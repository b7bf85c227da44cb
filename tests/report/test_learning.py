"""Table and figure of learning curves, by hand."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
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
    write_union({"": records}, folder / RECORDS)


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


def test_the_figure_has_a_line_per_method_and_ratio_with_the_dense_model(tmp_path: Path) -> None:
    figure = figure_of("learning", Collected(recovered(tmp_path), PAPER))
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    curves = [[*line.get_ydata()] for line in ax.lines if len(line.get_xdata()) == 3]
    expected = [[end + 0.2, end + 0.1, end] for end in ENDS.values()]
    assert np.allclose(curves, expected)
    before = {
        (line.get_xdata()[0], round(line.get_ydata()[0], 9))
        for line in ax.lines
        if line.get_markersize() and len(line.get_xdata()) == 1
    }
    assert before == {(50, end + 0.3) for end in ENDS.values()}
    assert [text.get_text() for text in ax.texts] == ["20%", "30%"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Dense", "Entropy", "Before training"]
    assert "half the budget may end elsewhere" in figure.legends[0].get_title().get_text().replace("\n", " ")


def test_curves_of_several_recoveries_are_lines_of_their_own(tmp_path: Path) -> None:
    """As of `recoveries: [lora, [linear, lora]]`."""
    add_curves(recovered(tmp_path), "linear+lora")
    (ax,) = figure_of("learning", Collected(tmp_path, PAPER)).axes
    assert len([line for line in ax.lines if len(line.get_xdata()) == 3]) == 2 * len(ENDS)


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
