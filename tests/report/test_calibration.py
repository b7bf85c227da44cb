"""Agreement, distance and perplexity against the number of calibration sequences, by hand."""

from pathlib import Path

import pytest
from drawings import figure_of

from hfprune.analysis.by_sequences import by_sequences
from hfprune.analysis.collect import collect
from hfprune.analysis.declarations import Declarations
from hfprune.analysis.tidy import read_collected
from hfprune.report.collected import Collected
from hfprune.report.drawing.writing import made_figure
from hfprune.report.typeset import markdown
from hfprune.report.writing import made_table
from hfprune.results import Cell, Value, write_result

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "paper"
DECLARED = Declarations(())


READ = {"criterion": "entropy", "units": ["neurons"], "corpus": "c4"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Entropy at 8 and at 12 sequences, and magnitude, which reads none."""
    folder = tmp_path_factory.mktemp("calibration")
    paths = []

    def write(method: str, ratio: float | None, measure: str, values: list[Value], **provenance) -> None:
        paths.append(folder / method / f"{measure}.json")
        write_result(paths[-1], Cell("s", "m", method, ratio, 0, "none"), measure, "", values, provenance)

    for method, last, js in (("entropy_8", 8, 0.5), ("entropy", 12, 0.4)):
        curve = [
            {"sequences": n, "agreement": n / 16, "places": {"mlp.0": n / 16}, "successive": 0.5}
            for n in (8, 12)
            if n <= last
        ]
        settings = READ | {"options": {"aggregation": "sum_abs"}}
        write(
            method,
            None,
            "cost",
            [Value("seconds", 1.0)],
            settings=settings,
            curve=curve,
        )
        write(method, 0.2, "fidelity", [Value("js_distance", js, 0.01, 4)])
        write(method, 0.2, "perplexity", [Value("perplexity", 100 * js, 2.0, 4)])
    write("magnitude", None, "cost", [Value("seconds", 1.0)], settings={"criterion": "magnitude"}, curve=[])
    collect(paths, [], [], folder)
    return folder


def test_every_mark_is_collected(folder: Path) -> None:
    marks = read_collected(folder / "calibration.csv")
    assert marks[["method", "sequences", "agreement"]].to_numpy().tolist() == [
        ["entropy", 8, 0.5],
        ["entropy", 12, 0.75],
        ["entropy_8", 8, 0.5],
    ]


def test_methods_that_differ_in_sequences_are_one_criterion(folder: Path) -> None:
    tables = (read_collected(folder / name) for name in ("results.parquet", "calibration.csv"))
    rows = by_sequences(*tables, DECLARED)
    assert rows["criterion"].tolist() == ["entropy"] * 2
    expected = [["entropy_8", 8, 0.5, 0.5, 0.01, 50.0], ["entropy", 12, 0.75, 0.4, 0.01, 40.0]]
    columns = ["method", "sequences", "agreement", "js_distance", "js_distance_stderr", "perplexity"]
    assert rows[columns].to_numpy().tolist() == expected


def test_table_and_figure_show_them(folder: Path) -> None:
    text = markdown(made_table("calibration", Collected(folder, PAPER)))
    assert "0.400 ± 0.010" in text
    assert "50.0 ± 2.0" in text
    agreement, js, perplexity = figure_of("calibration", Collected(folder, PAPER)).axes
    (line,) = agreement.lines
    assert line.get_xydata().tolist() == [[8, 0.5], [12, 0.75]]
    assert js.lines[0].get_ydata().tolist() == [0.5, 0.4]
    assert perplexity.lines[0].get_ydata().tolist() == [50, 40]


def test_a_study_without_calibration_says_so(folder: Path, tmp_path: Path) -> None:
    collect([folder / "magnitude/cost.json"], [], [], tmp_path)
    assert "No calibration was measured" in markdown(made_table("calibration", Collected(tmp_path, PAPER)))
    assert made_figure("calibration", Collected(tmp_path, PAPER)).endswith("not measured")


def test_a_method_in_steps_is_another_line(tmp_path: Path) -> None:
    """It reads as many sequences as the same method at once, and differs in its plans."""
    for method, steps in (("entropy", {}), ("in_steps", {"steps": 4})):
        settings = READ | {"options": {}}
        curve = [{"sequences": 8, "agreement": 0.5, "successive": 0.5}]
        scored = {"settings": settings, "curve": curve}
        cut = {"settings": {"allocation": {"rule": "uniform"}, "scoring": settings | steps}}
        for ratio, measure, provenance in ((None, "cost", scored), (0.2, "size", cut)):
            cell = Cell("s", "m", method, ratio, 0, "none")
            write_result(
                tmp_path / method / f"{measure}.json", cell, measure, "", [Value("x", 1)], provenance
            )
    collect(sorted(tmp_path.glob("*/*.json")), [], [], tmp_path)
    marks = read_collected(tmp_path / "calibration.csv").set_index("method")["criterion"]
    assert marks.to_dict() == {"entropy": "entropy", "in_steps": "entropy, 4 steps"}
