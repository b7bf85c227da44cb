"""A run beside what git holds of the study: every kind of difference, and what may be why."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from command_line import failure, run
from committed import ROOT, results_of


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what git holds of a study, in a clone."""
    monkeypatch.chdir(ROOT)
    return shutil.copytree(results_of("methods"), tmp_path / "mine")


def test_the_same_numbers_are_said_to_be(made: Path, tmp_path: Path) -> None:
    run("check", "--results", made, "--out", tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text()
    assert text.startswith("The same numbers, up to rounding: ") and "differs" not in text
    run("check", "--results", made)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (lambda x: x * (1 + 1e-6), "within rounding", "The same numbers"),
        (lambda x: x + 0.001, "within the interval", "Numbers within the intervals"),
        (lambda x: x + 0.2, "outside the interval", "Not the same"),
    ],
)
def test_one_number_that_was_changed_by_hand_is_found(made: Path, tmp_path: Path, value, kind, said) -> None:
    rows = pd.read_csv(made / "results.csv", keep_default_na=False)
    at = rows.query("measure == 'fidelity' and method == 'entropy' and seed == ''").index[0]
    before = float(rows.loc[at, "value"])
    rows.loc[at, "value"] = value(before)
    rows.to_csv(made / "results.csv", index=False)
    run("check", "--results", made, "--out", tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text()
    assert text.startswith(said) and f"{before:.6g} → {value(before):.6g} (smollm2" in text
    table = pd.read_table(tmp_path / "check.md", sep=r"\s*\|\s*", engine="python", skiprows=2, nrows=6)
    assert table.set_index("measure").loc["fidelity", kind] == "1"
    if said.startswith("Not"):
        assert "not the numbers of the last commit" in failure("check", "--results", made)


def test_another_torch_another_verdict_and_a_missing_value_are_named(made: Path, tmp_path: Path) -> None:
    records = pd.read_parquet(made / "records.parquet")
    records["packages"] = records["packages"].str.replace('"torch": "2.13.0', '"torch": "9.9.9')
    records.to_parquet(made / "records.parquet")
    claims = pd.read_csv(made / "claims.csv")
    claims.loc[claims["verdict"] == "inconclusive", "verdict"] = "contradicted"
    claims.to_csv(made / "claims.csv", index=False)
    rows = (made / "results.csv").read_text().splitlines(keepends=True)
    (made / "results.csv").write_text("".join(rows[:-1]))
    run("check", "--results", made, "--out", tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text()
    assert "torch differs: 2.13.0+cpu → 9.9.9+cpu." in text and "inconclusive → contradicted" in text
    assert text.startswith("Not the same") and re.search(r"\| cost +\|.* 1 \| +0 \|\n", text)


def test_a_study_that_git_lacks(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("check", "--results", made, "--out", tmp_path / "check.md")
    assert "The last commit here holds no results of methods" in (tmp_path / "check.md").read_text()
    assert "not the numbers of the last commit" in failure("check", "--results", made)
    run("check", "--results", made, "--against", results_of("methods"))
