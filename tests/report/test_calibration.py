"""Agreement against the number of calibration sequences, by hand."""

from pathlib import Path

import pytest
from drawings import figure_of
from synthetic import PAPER, gather

from hfprune.report.collected import Collected
from hfprune.report.drawing.figure_files import made_figure
from hfprune.results import Cell, Value, write_result
from hfprune.study.study import Study

CALIBRATION = {"corpus": "c4", "sequences": 12, "length": 8}
FIDELITY = {"fidelity": {"corpus": "c4", "sequences": 4, "length": 8}}


def gathered(folder: Path, methods: dict[str, dict], results: list[Path]) -> Collected:
    study = Study(models=["m"], methods=methods, ratios=[0.2], calibration=CALIBRATION, measures=FIDELITY)
    return Collected(gather(study, folder, results=results), PAPER)


def write(folder: Path, method: str, ratio: float | None, measure: str, values: list[Value], **made) -> Path:
    path = folder / method / f"{measure}.json"
    write_result(path, Cell("s", "m", method, ratio, 0, "none"), measure, "", values, made)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Collected:
    """Entropy at 8 and at 12 sequences, and magnitude, which reads none."""
    folder = tmp_path_factory.mktemp("calibration")
    paths = [write(folder, "magnitude", None, "cost", [Value("seconds", 1.0)], curve=[])]
    for method, last in (("entropy_8", 8), ("entropy", 12)):
        curve = [{"sequences": n, "agreement": n / 16} for n in (8, 12) if n <= last]
        paths.append(write(folder, method, None, "cost", [Value("seconds", 1.0)], curve=curve))
    methods = {"magnitude": {}, "entropy": {}, "entropy_8": {"criterion": "entropy", "sequences": 8}}
    return gathered(folder, methods, paths)


def test_every_mark_is_collected_and_drawn_once(data: Collected) -> None:
    marks = data.marks.sort_values(["method", "sequences"])[["method", "sequences", "agreement"]]
    expected = [["entropy", 8, 0.5], ["entropy", 12, 0.75], ["entropy_8", 8, 0.5]]
    assert marks.to_numpy().tolist() == expected
    (agreement,) = figure_of("calibration", data).axes
    (line,) = agreement.lines
    assert line.get_xydata().tolist() == [[8, 0.5], [12, 0.75]]


def test_a_study_without_calibration_says_so(tmp_path: Path) -> None:
    result = write(tmp_path, "magnitude", None, "cost", [Value("seconds", 1.0)], curve=[])
    data = gathered(tmp_path, {"magnitude": {}}, [result])
    assert made_figure("calibration", data).endswith("not measured")


def test_a_method_in_steps_is_another_line(tmp_path: Path) -> None:
    """It reads as many sequences as the same method at once, and differs in its plans."""
    mark = {"sequences": 8, "agreement": 0.5}
    methods = {"entropy": {}, "in_steps": {"criterion": "entropy", "steps": 4}}
    paths = [write(tmp_path, method, None, "cost", [Value("x", 1)], curve=[mark]) for method in methods]
    marks = gathered(tmp_path, methods, paths).marks.set_index("method")["criterion"]
    assert marks.to_dict() == {"entropy": "entropy", "in_steps": "entropy, 4 steps"}
