"""A folder whose own files do not agree fails the check, whatever machine it says made them."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from command_line import failure, run
from committed import COMMITTED, ROOT, change, results_of

from hfprune.checking.by_key import by_key
from hfprune.checking.chain import broken_links
from hfprune.checking.flat import NAMES, read_flat
from hfprune.checking.reproduction import compared
from hfprune.effects.analysed import analysed
from hfprune.results.declarations import declare
from hfprune.settings import load
from hfprune.study.study import Study


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo as measured by another torch on another processor: most values may move within intervals."""
    monkeypatch.chdir(ROOT)
    folder = Path(shutil.copytree(results_of("demo"), tmp_path / "mine"))
    another = {
        "packages": lambda old: old.replace('"torch": "2.13.0', '"torch": "9.9.9'),
        "hardware": lambda old: old.replace("AMD EPYC", "Another"),
    }
    change(folder / "records.parquet", "model != ''", **another)
    return folder


@pytest.mark.parametrize(
    ("file", "query", "values", "said"),
    [
        (
            "items.parquet",
            "nll > 0 and item == 3 and method == 'entropy' and ratio == 0.3 and resample == 0",
            {"nll": lambda x: x + 0.001},
            r"results.csv, made again from items.parquet: .*perplexity: .*value \d.* → \d.*`hfprune collect`",
        ),
        (
            "results.csv",
            "metric == 'perplexity' and method == 'entropy' and draw == '0' and ratio == '0.3'",
            {"value": lambda x: 1.005 * float(x)},
            r"results.csv, made again from items.parquet: .*perplexity: value \d.* → \d.*`hfprune collect`",
        ),
        (
            "effects.csv",
            "question == 'reference' and outcome == 'points' and ratio == '0.2' and method == 'cross_entropy'",
            {"value": lambda x: -float(x)},
            r"effects.csv, made again from results.csv and items.parquet: .*: value -?\d.* → .*`hfprune effects`",
        ),
        (
            "claims.csv",
            "verdict == 'inconclusive'",
            {"verdict": "confirmed"},
            r"claims.csv, made again from .*: verdict confirmed → inconclusive; run `hfprune effects`",
        ),
        (
            "tables/table7.md",
            None,
            {},
            r"tables/table7.md: \d+: text .* → .*; run `hfprune tables`",
        ),
    ],
)
def test_a_value_altered_at_any_link_is_found(moved: Path, capsys, file, query, values, said) -> None:
    if query:
        change(moved / file, query, **values)
    else:
        text = (moved / file).read_text()
        (moved / file).write_text(re.sub(r"0\.3(\d)", lambda x: f"0.3{9 - int(x[1])}", text, count=1))
    assert "not consistent" in failure("check", "--results", moved)
    assert re.search(rf"^- {said}", capsys.readouterr().out, re.M)


def test_an_unaltered_folder_agrees_and_what_is_not_checked_is_named(moved: Path, tmp_path: Path) -> None:
    (moved / "report.html").write_text("")
    run("check", "--results", moved, "--out", tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text()
    assert text.startswith("The same numbers, up to rounding: ") and "not follow from the folder" not in text
    assert text.splitlines()[-1].startswith("Not checked: report.html, whether errors, counts, memory ")


@pytest.mark.thorough
@pytest.mark.parametrize("study", COMMITTED)
def test_what_git_holds_agrees(study: str) -> None:
    assert not [*broken_links(results_of(study), analysed)]


@pytest.mark.parametrize("factor", [0, -1, 1000, 0.001])
@pytest.mark.parametrize("measure", ["cost", "latency"])
def test_an_impossible_time_fails(measure: str, factor: int) -> None:
    kept = read_flat(results_of("demo") / "results.csv")
    timed = kept["metric"].isin(["seconds", "prefill_seconds"]) & (kept["measure"] == measure)
    assert timed.any()
    for times, fails in ((factor, True), (3, False)):
        made = kept.copy()
        made.loc[timed, "value"] = (times * pd.to_numeric(kept.loc[timed, "value"])).astype(str)
        declared = declare(load(Study, results_of("demo") / "study.yaml"))
        ((_, found),) = compared(declared, {"results.csv": kept}, {"results.csv": made})
        assert len(found.failed) == (timed.sum() if fails else 0)


def test_the_largest_difference_is_of_what_is_compared(moved: Path, capsys) -> None:
    change(moved / "results.csv", "metric == 'seconds'", value=lambda x: 3 * float(x), n="7")
    assert "not the numbers" in failure("check", "--results", moved)
    text = capsys.readouterr().out
    assert "cost, seconds: n " in text and "The largest difference" not in text


def test_rows_made_again_are_told_apart_by_their_names() -> None:
    """Else a row could stand for another."""
    for name in ("results.csv", "effects.csv", "claims.csv", "answers.csv", "draws.csv"):
        table = read_flat(results_of("demo") / name)
        assert not table.duplicated([column for column in NAMES if column in table]).any(), name
        assert by_key(table, table, NAMES).failed.empty
