"""Quality against the gain: theoretical speed-ups and relative sizes, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
from synthetic import PAPER, Study

from hfprune.cells import DENSE, Value
from hfprune.report.table_files import write_tables
from hfprune.report.tradeoff import front, tradeoff
from hfprune.results.reader import Results

LATENCY = {"latency": {}, "gold_bpb": {"groups": {"a": ["arc_easy"], "b": ["boolq"]}}}
# Method → JS distance, prefill and decode speed-up, parameters (millions), memory (MB), FLOPs (G).
WHOLE = (0.0, 1.0, 1.0, 100.0, 440.0, 100.0)
CELLS = {
    "width": (0.20, 1.1, 1.2, 80.0, 380.0, 70.0),
    "depth": (0.30, 1.4, 1.3, 80.0, 330.0, 72.0),
    "attention": (0.25, 1.0, 1.2, 80.0, 340.0, 74.0),
    "aligned": (0.30, 1.4, 1.1, 80.0, 380.0, 70.0),
}


def measure(
    study: Study, method: str, js: float, prefill: float, decode: float, *sizes: float, **cell
) -> None:
    parameters, memory, flops = (size * 1e6 for size in sizes)
    ratio = cell.pop("ratio", 0.2)
    values = [Value("parameters", parameters), Value("memory_bytes", memory), Value("flops", 1e3 * flops)]
    if method != DENSE:
        values += [Value("prefill_speedup", prefill, 0.01, 5), Value("decode_speedup", decode, 0.01, 5)]
        study.result(method, ratio, "fidelity", "c4", Value("js_distance", js, 0.01, 16), **cell)
    study.result(method, ratio, "latency", "", *values, **cell)
    for task, bpb in (("a", 1 + js), ("b", 2 + js)):
        study.result(method, ratio, "gold_bpb", task, Value("bpb", bpb, 0.1, 9), **cell)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = Study(tmp_path_factory.mktemp("measured"), [*CELLS, "unclocked"], [0.2], more=LATENCY)
    measure(study, DENSE, *WHOLE, ratio=0.0)
    for method, numbers in CELLS.items():
        measure(study, method, *numbers)
    study.result("unclocked", 0.2, "fidelity", "c4", Value("js_distance", 0.1, 0.01, 16))
    return study.collect()


def read(folder: Path) -> pd.DataFrame:
    data = Results(folder, PAPER)
    return tradeoff(data.levels, data.declared).set_index("method")


def test_numbers_by_hand(measured: Path) -> None:
    table = read(measured)
    assert [*table.index] == [DENSE, "aligned", "attention", "depth", "width"], "only what has a latency"
    depth, dense = table.loc["depth"], table.loc[DENSE]
    assert depth["parameters_kept"] == pytest.approx(0.8) and depth["memory_bytes"] == 330e6
    assert depth["prefill_by_flops"] == pytest.approx(100 / 72)
    assert depth["decode_by_parameters"] == pytest.approx(1.25)
    assert (depth["js_distance"], depth["bpb"]) == (0.3, pytest.approx(1.8)), "the mean over the groups"
    relative = ["prefill_speedup", "decode_speedup", "parameters_kept"]
    assert dense[relative].tolist() == [1] * 3 and (dense["js_distance"], dense["bpb"]) == (0, 1.5)
    half = 2.131450 * 0.01  # t of 15 degrees of freedom
    assert depth[["js_distance_low", "js_distance_high"]].tolist() == pytest.approx([0.3 - half, 0.3 + half])
    assert np.isnan(depth["decode_speedup_low"]), "repeats of one process are no interval"


def test_a_speed_up_of_three_processes_has_an_interval_above_zero(tmp_path: Path) -> None:
    study = Study(tmp_path / "study", ["width"], [0.2], draws=[0, 1, 2], more=LATENCY)
    measure(study, DENSE, *WHOLE, ratio=0.0)
    for draw, decode in enumerate((0.4, 1.1, 1.8)):
        measure(study, "width", 0.2, 1.1, decode, 80.0, 380.0, 70.0, draw=draw)
    found = read(study.collect()).loc["width"]
    half = 4.302653 * 0.7 / np.sqrt(3)  # t of 2 degrees of freedom
    bounds = [1.1 * np.exp(-half / 1.1), 1.1 * np.exp(half / 1.1)]
    assert found[["decode_speedup_low", "decode_speedup_high"]].tolist() == pytest.approx(bounds)


def test_the_pareto_front_by_hand() -> None:
    points = pd.DataFrame({"place": [1.0, 2.0, 2.0, 3.0, 4.0], "value": [0.0, 0.2, 0.3, 0.4, 0.4]})
    assert front(points, "higher").index.tolist() == [4, 1, 0], "3 loses as much as 4, which is faster"
    assert front(points, "lower").index.tolist() == [0], "nothing is both smaller and better"


def test_bytes_on_disk_are_an_axis_where_they_were_measured(tmp_path: Path) -> None:
    more = LATENCY | {"storage": {}}
    study = Study(tmp_path / "study", ["width"], [0.2], more=more)
    measure(study, DENSE, *WHOLE, ratio=0.0)
    measure(study, "width", *CELLS["width"])
    for method, ratio, size in ((DENSE, 0.0, 2e8), ("width", 0.2, 1.6e8)):
        study.result(method, ratio, "storage", "", Value("disk_bytes", size))
    folder = study.collect()
    assert read(folder)["disk_bytes"].tolist() == [2e8, 1.6e8]
    axes = [ax for ax in figure_of("tradeoff", Results(folder, PAPER)).axes if "disk" in ax.get_xlabel()]
    assert {ax.get_xlabel()[:-2].replace("\n", " ") for ax in axes} == {"Weights on disk (GB)"}
    (joined,) = (line for line in axes[0].lines if [*line.get_xdata()] == pytest.approx([0.16, 0.2]))
    assert joined.get_ydata().tolist() == [0.2, 0.0]


def test_the_figure_shows_them(measured: Path) -> None:
    data = Results(measured, PAPER)
    axes = figure_of("tradeoff", data).axes
    found = [(ax.get_ylabel()[:-2], ax.get_xlabel()[:-2]) for ax in axes]
    gains = "Prefill speed-up", "Decode speed-up"
    assert found == [(quality, gain) for quality in ("JS distance", "Bits per byte") for gain in gains]
    assert {ax.get_xlabel()[-1] + ax.get_ylabel()[-1] for ax in axes} == {"↑↓"}


def test_what_was_not_measured_has_no_panel_and_no_column(collected: Path, tmp_path: Path) -> None:
    write_tables(collected, PAPER, tmp_path)
    assert "No latency was measured." in (tmp_path / "tradeoff.md").read_text()
    study = Study(tmp_path / "study", ["width"], [0.2], more={"latency": {}})
    study.result(DENSE, 0.0, "latency", "", Value("parameters", 1e8), Value("flops", 1e9))
    study.result("width", 0.2, "latency", "", Value("parameters", 8e7), Value("prefill_speedup", 1.2))
    study.result("width", 0.2, "fidelity", "c4", Value("js_distance", 0.3, 0.01, 16))
    folder = study.collect()
    axes = figure_of("tradeoff", Results(folder, PAPER)).axes
    assert [ax.get_xlabel()[:-2] for ax in axes] == ["Prefill speed-up"]
    write_tables(folder, PAPER, tmp_path)
    head = next(line for line in (tmp_path / "tradeoff.md").read_text().splitlines() if line.startswith("|"))
    assert "Prefill" in head and not any(name in head for name in ("Decode", "Memory", "Gold"))
