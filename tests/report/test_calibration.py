"""Agreement against the number of calibration sequences, by hand."""

from pathlib import Path

import pytest
from drawings import figure_of
from matplotlib.text import Text
from synthetic import PAPER, gather

from hfprune.cells import Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.report.drawing.figure_files import make_figure
from hfprune.results.reader import Results
from hfprune.study.study import Study

CALIBRATIONS = {name: {"corpus": name, "sequences": 12, "length": 8} for name in ("c4", "wiki")}
CALIBRATIONS["c4"]["label"] = "The web"
FIDELITY = {"fidelity": {"corpus": "c4", "sequences": 4, "length": 8}}


def gathered(folder: Path, methods: dict[str, dict], results: list[Path]) -> Results:
    read = {"calibrations": CALIBRATIONS, "measures": FIDELITY}
    study = Study(models=["m"], methods=methods, ratios=[0.2], **read)
    return Results(gather(study, folder, results=results), PAPER)


def write(folder: Path, method: str, curve: list[dict], calibration: str = "c4") -> Path:
    path = folder / method / calibration / "cost.json"
    cell = Cell("s", "m", method, calibration, 12 if curve else 0, None, 0, Recovery.NONE)
    write_result(path, cell, "cost", "", [Value("seconds", 1.0)], {"curve": curve})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Entropy at 8 and at 12 sequences of one text, and at 8 of another; magnitude reads none."""
    folder = tmp_path_factory.mktemp("calibration")
    curve = [{"sequences": n, "agreement": n / 16} for n in (8, 12)]
    paths = [write(folder, "magnitude", []), write(folder, "entropy", curve)]
    paths.append(write(folder, "entropy", [{"sequences": 8, "agreement": 0.25}], "wiki"))
    return gathered(folder, {"magnitude": {}, "entropy": {}}, paths)


def test_every_mark_is_collected_and_drawn_once(data: Results) -> None:
    columns = ["method", "calibration", "sequences", "agreement"]
    marks = data.marks.sort_values(columns)[columns].to_numpy().tolist()
    c4 = [["entropy", "c4", 8, 0.5], ["entropy", "c4", 12, 0.75]]
    assert marks == [*c4, ["entropy", "wiki", 8, 0.25]]
    figure = figure_of("calibration", data)
    points = [[line.get_xydata().tolist() for line in ax.lines] for ax in figure.axes]
    assert points == [[[[8, 0.5], [12, 0.75]]], [[[8, 0.25]]]]
    headings = [text.get_text() for text in figure.findobj(Text)]
    assert [text for text in headings if text.startswith("m, ")] == ["m, The web", "m, wiki"]


def test_a_study_without_calibration_says_so(tmp_path: Path) -> None:
    data = gathered(tmp_path, {"magnitude": {}}, [write(tmp_path, "magnitude", [])])
    assert make_figure("calibration", data).endswith("not measured")


def test_a_method_in_steps_is_another_line(tmp_path: Path) -> None:
    """It reads as many sequences as the same method at once, and differs in its plans."""
    mark = {"sequences": 8, "agreement": 0.5}
    methods = {"entropy": {}, "in_steps": {"criterion": "entropy", "steps": 4}}
    paths = [write(tmp_path, method, [mark]) for method in methods]
    marks = gathered(tmp_path, methods, paths).marks.set_index("method")["criterion"]
    assert marks.to_dict() == {"entropy": "entropy", "in_steps": "entropy, 4 steps"}
