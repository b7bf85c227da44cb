"""A measure that no table of the paper has, in table, figure, comparison and claims, by what it declares alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
from synthetic import PAPER, Study, analysed, effects_of, gather, stream_installed

from hfprune.cells import DENSE, Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.effects.condition import NOT_APPLICABLE
from hfprune.effects.verdicts import evaluate
from hfprune.paper.claims import Claim
from hfprune.paper.relations import Paper
from hfprune.report.table_files import write_tables
from hfprune.results.effect_rows import OF_CLAIM, table
from hfprune.results.evidence import Evidence
from hfprune.results.reader import Results
from hfprune.study import paths

BPB = {"groups": {"reading": ["squad"], "code": ["mbpp"]}, "documents": 4}
STREAM = {"measure": "stream", "corpus": "wikitext-2", "sequences": 8, "length": 8}
METHODS = ["entropy", "cross_entropy"]


@pytest.fixture(scope="module", autouse=True)
def stream() -> Iterator[None]:
    with stream_installed():
        yield


def measure(folder: Path, *draws: int) -> Study:
    """Two methods and the dense model on two groups of answers and a stream; entropy is 0.5 bits better."""
    more = {"gold_bpb": BPB, "my_stream": STREAM}
    study = Study(folder, METHODS, ratios=[0.2], draws=[*draws], tasks={"boolq": 0.6}, more=more)
    cells = [(0, DENSE, 0.0, 0), *((i, METHODS[i - 1], 0.2, draw) for i in (1, 2) for draw in draws)]
    for i, method, ratio, draw in cells:
        for group, level in {"reading": 1.0, "code": 3.0}.items():
            bits = level + 0.5 * i + np.linspace(-0.1, 0.1, 8)
            study.outcomes(method, ratio, f"gold_bpb/{group}", bits, metric="bpb", draw=draw)
        items = pd.DataFrame({"item": range(8), "nll": np.log(10.0) + np.log(2) * i})
        value = Value("perplexity", 10.0 * 2**i, 0.5, 8)
        study.result(method, ratio, "my_stream", "wikitext-2", value, items=items, draw=draw)
    study.collect()
    return study


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return measure(tmp_path_factory.mktemp("measured"), 0)


def rows_of(path: Path) -> list[list[str]]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_table_has_a_column_per_metric_and_task(measured: Study) -> None:
    write_tables(measured.folder, PAPER, measured.folder / "tables", ["measures", "table7"])
    head, *body = rows_of(measured.folder / "tables/measures.md")
    assert head == [
        *("Ratio", "Method", "Bits per byte, code (bits/byte)", "Bits per byte, reading (bits/byte)"),
        *("Bits per byte, mean (bits/byte)", "Perplexity"),
    ]
    se = np.linspace(-0.1, 0.1, 8).std(ddof=1) / 8**0.5
    mean = f" ± {2**0.5 * se / 2:.3f}"
    assert body == [
        ["0 %", "Dense", "3.000", "1.000", f"2.000{mean}", "10.00 ± 0.50"],
        ["20 %", "Entropy", "**3.500**", "**1.500**", f"**2.500{mean}**", "**20.00 ± 0.50**"],
        ["20 %", "Cross-entropy", "4.000", "2.000", f"3.000{mean}", "40.00 ± 0.50"],
    ]
    numbers = pd.read_csv(measured.folder / "tables/measures.csv")
    assert numbers["gold_bpb.bpb.reading"].tolist() == pytest.approx([1, 1.5, 2])
    assert numbers["my_stream.perplexity.wikitext-2"].tolist() == [10, 20, 40]
    # The paper's table of outputs has perplexity by document, and not that of a stream.
    assert "40.00" not in (measured.folder / "tables/table7.md").read_text()


def test_figure_has_a_panel_per_task_of_each_measure(measured: Study) -> None:
    axes = figure_of("measures", Results(measured.folder, PAPER)).axes
    titles = [ax.get_xlabel().replace("\n", " ")[:-2] for ax in axes]
    assert titles == ["Bits per byte, code (bits/byte)", "Bits per byte, reading (bits/byte)", "Perplexity"]
    # At one ratio a method has a line, the best on top.
    marks = [[line for line in ax.lines if line.get_marker() != "None"] for ax in axes]
    drawn = [
        [line.get_xdata()[0] for line in sorted(own, key=lambda line: line.get_ydata()[0])] for own in marks
    ]
    assert drawn == [pytest.approx([3.5, 4]), pytest.approx([1.5, 2]), [20, 40]]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["Entropy", "Cross-entropy"]
    assert [ax.lines[0].get_xdata()[0] for ax in axes] == pytest.approx([3, 1, 10]), "the dense model"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return measure(tmp_path_factory.mktemp("drawn"), 0, 1, 2)


def test_comparison_has_its_primary_metric(drawn: Study, tmp_path: Path) -> None:
    rows = effects_of(Evidence(drawn.folder)).query("method == 'cross_entropy'").set_index("outcome")
    numbers = rows.loc["bpb", ["value", "low", "high"]].tolist()
    assert numbers == pytest.approx([0.5] * 3), "the same on every item"
    assert rows.loc["my_stream.perplexity_ratio", "value"] == pytest.approx(2)
    gather(drawn.config(), drawn.folder, tmp_path)
    head = rows_of(analysed(tmp_path) / "effects.md")[0]
    assert head[-2:] == ["Δ bits per byte (bits/byte)", "Perplexity ratio on wikitext-2"]
    axes = figure_of("effects", Results(tmp_path, PAPER)).axes
    panels = [" ".join(ax.get_xlabel()[:-2].split()) for ax in axes]  # a long label is broken
    assert panels[-2:] == head[-2:]


def judge(study: Study, **changes) -> pd.Series:
    paper = Paper.read(PAPER / "claims.yaml")
    claim = Claim.model_validate(
        {"id": "mine", "sentence": "It is closer.", "where": "here", "tables": [7], "ratios": [0.2]}
        | {"left": {"methods": ["entropy"]}, "right": {"methods": ["cross_entropy"]}, "relation": "lower"}
        | changes
    )
    rows, effects = evaluate(Paper(paper.models, [claim], paper.numbers), Evidence(study.folder))
    numbers = table(effects).reindex(columns=["model", *OF_CLAIM])
    return rows.merge(numbers, "left", on="model").query("model == 'tiny-llama'").iloc[0]


def test_claims_can_be_made_on_it(drawn: Study) -> None:
    row = judge(drawn, measure="gold_bpb", metric="bpb")
    assert (row["verdict"], row["label"], row["n"]) == ("reproduced", "Bits per byte", 16)
    assert row[["value", "low", "high"]].tolist() == pytest.approx([-0.5] * 3)
    row = judge(drawn, measure="my_stream", metric="perplexity", effect="ratio")
    assert (row["verdict"], row["neutral"], row["value"]) == ("reproduced", 1, pytest.approx(0.5))
    row = judge(drawn, measure="latency", metric="decode_speedup")
    assert row["verdict"] == "not run" and row["note"].endswith("the study does not measure latency")


def test_what_is_not_applicable_is_judged_and_drawn_nowhere(measured: Study, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(measured.folder, tmp_path / "study"))
    study = Study(folder, METHODS, [0.2], tasks={"boolq": 0.6}, more=measured.more)
    calibrated = study.calibrated("cross_entropy")
    cell = Cell("test", "tiny-llama", "cross_entropy", *calibrated, 0.2, 0, Recovery.NONE)
    plan = folder / f"{paths.fill(paths.PLAN, cell)}.json"
    values = [Value("not_applicable", 1), Value("parameters", 1e8)]
    write_result(plan, cell, "size", "", values, {}, not_applicable="keeps 2 of 2 groups at 20 %")
    gather(study.config(), folder, results=[*study.results, plan])
    row = judge(study, measure="gold_bpb", metric="bpb")
    reason = "cross_entropy 20 %, none is not applicable: keeps 2 of 2 groups at 20 %"
    assert (row["verdict"], row["note"]) == (NOT_APPLICABLE, reason)
    assert np.isnan(row["value"])
    assert "cross_entropy" not in {*effects_of(Evidence(folder))["method"]}
    write_tables(folder, PAPER, folder / "tables", ["measures"])
    assert rows_of(folder / "tables/measures.md")[-1] == ["20 %", "Cross-entropy", *"––––"]
    axes = figure_of("measures", Results(folder, PAPER)).axes
    assert [len([line for line in ax.lines if line.get_marker() != "None"]) for ax in axes] == [1, 1, 1]
