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

from hfprune.errors import HfpruneError
from hfprune.report.table_files import write_tables
from hfprune.results.files import RECORDS, read_union, write_union
from hfprune.results.reader import Results

STEPS, TOKENS = [0, 1, 2, 4], [0, 100, 200, 400]
ENDS = {("dense", 0.0): 2.0, ("entropy", 0.2): 2.5, ("entropy", 0.3): 3.0}


@pytest.fixture
def recovered(tmp_path: Path) -> Path:
    study = Study(tmp_path, methods=["entropy"])
    for method, ratio in ENDS:
        study.outcomes(method, ratio, "perplexity", np.linspace(1.0, 2.0, 8), metric="nll")
    study.collect()
    add_curves(tmp_path, "lora")
    return tmp_path


def add_curves(folder: Path, recovery: str) -> None:
    rows = [
        {"model": "tiny-llama", "method": method, "ratio": ratio, "draw": 0, "recovery": recovery}
        | Study(folder).calibrated(method)._asdict()
        | {"measure": "recovery", "task": "pairs", "curve": json.dumps([*points(end)])}
        for (method, ratio), end in ENDS.items()
    ]
    records = pd.concat([read_union(folder / RECORDS), pd.DataFrame(rows)], ignore_index=True)
    write_union([records], folder / RECORDS)


def points(end: float) -> Iterator[dict]:
    for place, (step, tokens) in enumerate(zip(STEPS, TOKENS, strict=True)):
        point = {"step": step, "tokens": tokens, "loss": end + 0.3 - 0.1 * place, "stderr": 0.05, "n": 8}
        doubling = {"value": -0.1, "low": -0.125, "high": -0.075}
        yield point | ({"doubling": doubling} if step > 1 else {})


def test_the_table_has_the_end_of_every_curve_and_its_last_doubling(recovered: Path) -> None:
    write_tables(recovered, PAPER, recovered / "tables", ["learning"])
    numbers = pd.read_csv(recovered / "tables/learning.csv")
    assert [*zip(numbers["method"], numbers["ratio"], strict=True)] == [*ENDS]
    assert np.allclose(numbers["loss"], [*ENDS.values()])
    assert np.allclose(numbers["loss_before"], numbers["loss"] + 0.3)
    lines = (recovered / "tables/learning.md").read_text().splitlines()
    (line, _) = [line for line in lines if line.startswith(("| 20 %", "| 30 %"))]
    shown = [part.strip() for part in line.strip("|").split("|")]
    interval = "[-0.125, -0.075]"
    assert shown == ["20 %", "Entropy", "4", "400", "2.800", "2.500 ± 0.050", "-0.100", interval, "8"]


def drawn(folder: Path) -> list[tuple[Axes, list[np.ndarray]]]:
    """Return the axes of the figure, each with its curves, which gaps part."""
    found = []
    for ax in figure_of("learning", Results(folder, PAPER)).axes:
        lines = [np.asarray(line.get_ydata(), float) for line in ax.lines]
        gaps = [np.split(line, np.flatnonzero(np.isnan(line))) for line in lines if np.isnan(line).any()]
        curves = [part[~np.isnan(part)] for parts in gaps for part in parts]
        found.append((ax, [curve for curve in curves if len(curve)]))
    return found


def test_the_figure_has_a_panel_per_ratio_with_the_dense_model(recovered: Path) -> None:
    for (ax, curves), ratio, end in zip(drawn(recovered), (20, 30), (2.5, 3.0), strict=True):
        assert ax.get_title(loc="left") == f"tiny-llama, {ratio} % removed" and ax.get_xscale() == "log"
        assert np.allclose(curves, [[2.2, 2.1, 2.0], [end + 0.2, end + 0.1, end]])
        hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
        before = {(line.get_xdata()[0], round(line.get_ydata()[0], 6)) for line in hollow}
        assert before == {(50, 2.3), (50, end + 0.3)}
    legend = ax.figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["Dense", "Entropy"]
    assert "the schedule is unfinished" in legend.get_title().get_text().replace("\n", " ")
    # As of `recoveries: [lora, [linear, lora]]`.
    add_curves(recovered, "linear+lora")
    assert [[len(curve) for curve in curves] for _, curves in drawn(recovered)] == [[3] * 4] * 2


def test_files_that_do_not_belong_together_end_in_one_line(recovered: Path) -> None:
    heading = (recovered / "results.csv").read_text().splitlines()[0]
    (recovered / "results.csv").write_text(heading + "\n")
    message = r"results.csv: lacks \d+ results that records.parquet has, .* run `hfprune collect` again"
    with pytest.raises(HfpruneError, match=message):
        write_tables(recovered, PAPER, recovered / "tables", ["learning"])
