"""Every table, figure and page of a study of two texts says which text a number is of."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic import PAPER, TEXTS, Study, analysed, gather, study_of_texts

from hfprune.page.render import write_page
from hfprune.page.study_results import read_study
from hfprune.report.drawing.figure_files import make_figure
from hfprune.report.publication import publication_names
from hfprune.report.table_files import make_table
from hfprune.report.typeset import MISSING
from hfprune.results.reader import Results
from hfprune.study.study import Study as Config

METHODS = ["entropy", "cross_entropy", "magnitude"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = study_of_texts(tmp_path_factory.mktemp("texts"), METHODS, effects=["calibrations"])
    return Results(folder, PAPER)


# Whose numbers the study has; the table `claims` counts verdicts over models, ratios and texts alike.
TABLES = ["table4", "table5", "table6", "table7", "table8", "effects", "lost", "draws", "noise"]
FIGURES = ["answer", "accuracy", "tasks", "claims", "effects"]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_as_many_rows_of_each_text_which_name_it(name: str, data: Results) -> None:
    table = make_table(name, data)
    shown = {column.heading: column.cells for column in table.columns}
    rows = [text for text in shown["Calibration"] if text != MISSING]
    assert {*rows} == {*TEXTS} and len({rows.count(text) for text in TEXTS}) == 1
    named = [text or MISSING for text in table.numbers["calibrated"]]
    assert named == shown["Calibration"], "in the CSV too"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_names_each_text_with_our_models_alone(name: str, data: Results) -> None:
    texts = [text.get_text() for text in figure_of(name, data).findobj(Text)]
    for label in TEXTS:
        assert any(text.startswith(f"tiny-llama, {label}, 20 %") for text in texts), label
    assert not [text for text in texts if "LLaMA-2-7B, " in text and any(label in text for label in TEXTS)]


def test_what_the_study_has_not_measured_is_all_that_is_not_asked_for_here(data: Results) -> None:
    """So that a new table or figure of such numbers is; `added` has each other text less the first."""
    tables = {name for name in publication_names("tables") if "Calibration" in headings(name, data)}
    figures = {name for name in publication_names("figures") if isinstance(make_figure(name, data), Figure)}
    assert (tables, figures) == ({*TABLES, "added"}, {*FIGURES})


def headings(name: str, data: Results) -> set[str]:
    return {column.heading for column in make_table(name, data).columns}


def test_the_page_has_a_card_and_rows_of_each_text(data: Results, tmp_path: Path) -> None:
    write_page([data.folder], PAPER, tmp_path / "report.html")
    words = " ".join((tmp_path / "report.html").read_text().split())
    for label in TEXTS:
        assert re.search(rf"<h2> ?tiny-llama, {label}, 20 % removed", words)
        assert f'<th scope="row">tiny-llama, {label}</th>' in words, "of a claim"
    assert '<th scope="row">LLaMA-2-7B</th>' in words, "a model that has none of our texts"


def test_a_method_that_reads_no_calibration_stands_with_those_that_read_the_most(tmp_path: Path) -> None:
    """The largest size has one sample a draw, so that both have the same draws."""
    study = Study(tmp_path, methods=["entropy", "magnitude"], ratios=[0.2], draws=[0, 2, 4])
    means = {("entropy", 4): 0.30, ("entropy", 16): 0.25, ("magnitude", 0): 0.40}
    for (method, size), mean in means.items():
        for draw in range(6) if size == 4 else study.draws:
            items = mean + np.linspace(-0.1, 0.1, 10)
            study.outcomes(method, 0.2, "fidelity", items, metric="js_distance", draw=draw, sequences=size)
    given = study.config().model_dump(mode="json", exclude_unset=True)
    sizes = {"corpus": "c4", "sequences": 16, "length": 8, "sizes": {4: 2, 16: 1}}
    gather(Config.model_validate(given | {"calibrations": {"c4": sizes}}), tmp_path)
    table = analysed(tmp_path, "table7") / "table7.csv"
    values = read_study(tmp_path, PAPER, tmp_path).values.query("metric == 'js_distance'")
    rows = values.set_index(["method", "calibrated"])
    few, most = "4 sequences", "16 sequences"
    assert {*rows.index} == {("entropy", few), ("entropy", most), ("magnitude", most)}
    assert rows.loc[("magnitude", most), "reference"] == "entropy"
    assert rows.loc[("magnitude", most), "effect"] == pytest.approx(0.40 - 0.25)
    ours = pd.read_csv(table).query("source == 'ours'")
    assert {*zip(ours["method"], ours["calibrated"], strict=True)} == {*rows.index}
