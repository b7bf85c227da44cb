"""A run beside what git holds of the study: every kind of difference, and what may be why."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from command_line import failure, run
from committed import COMMITTED, ROOT, change, results_of

from hfprune.checking.allowed import FOLLOWING, OF_RUN, Allowed
from hfprune.checking.by_key import ADDED, EQUAL, LEFT_OUT, MISSING, OUTSIDE, Limits, by_key
from hfprune.checking.flat import read_flat
from hfprune.checking.reproduction import MOST, NAMES, compared, reproduction
from hfprune.effects.analysed import analysed
from hfprune.results.declarations import declare
from hfprune.settings import load
from hfprune.study.paths import ANALYSED, TIDY
from hfprune.study.study import Study

HELD = [*TIDY, *ANALYSED]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what git holds of the demo, in a clone."""
    monkeypatch.chdir(ROOT)
    return shutil.copytree(results_of("demo"), tmp_path / "mine")


def checked(made: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is printed about a folder that is not as git holds it."""
    assert "not the numbers of the last commit" in failure("check", "--results", made)
    return capsys.readouterr().out


def other(value: object) -> object:
    """Return a value that is another one, and as a number of a time an impossible one."""
    if isinstance(value, bool):
        return not value
    try:
        return -5 * float(value) or 1.0
    except ValueError:
        return f"{value}?"


def test_the_same_numbers_are_said_to_be_and_what_is_left_out_is_named(made: Path, tmp_path: Path) -> None:
    run("check", "--results", made, "--out", tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text()
    assert text.startswith("The same numbers, up to rounding: ") and "differs" not in text
    held = {file.relative_to(made).parts[0] for file in made.rglob("*.*")}
    assert held == {*re.findall(r"^\| (\S+\.\S+|tables) ", text, re.M)}
    assert re.search(r"^\| items.parquet +\| +3239 \|( +0 \|)+$", text, re.M)
    assert "Not compared in records.parquet: commit, version, started, " in text
    assert re.search(r"Not compared in results.csv: .*value of decode_speedup, .*seconds\.", text)


def limits(name: str, study: str = "demo") -> Limits:
    allowed = Allowed(declare(load(Study, results_of(study) / "study.yaml")))
    by_file = {"items.parquet": allowed.in_items, "records.parquet": allowed.in_records}
    return (lambda *_: {}) if name == "study.yaml" else by_file.get(name, allowed.in_values)


def test_times_over_draws_are_no_impossible_ones() -> None:
    """Whose intervals may begin below zero."""
    table = read_flat(results_of("recipe") / "results.csv")
    times = table["metric"].str.contains("seconds|speed") & (pd.to_numeric(table["low"]) < 0)
    assert times.any()
    found = by_key(table, table, NAMES, limits("results.csv", "recipe")).kinds
    assert found.isin([EQUAL, LEFT_OUT]).all()


@pytest.mark.parametrize("name", HELD)
def test_any_value_that_is_another_is_found_and_named(name: str) -> None:
    """One value of every column at a time, where it is compared, and where it is not, an impossible one.

    Each stands in a row of its own, which `layer` numbers.
    """
    table = read_flat(results_of("demo") / name)
    same = by_key(table, table, NAMES, limits(name))
    assert same.kinds.eq(EQUAL).all()
    kept, made, columns = [], [], []
    for column in same.old.columns.difference(same.key):
        left_out = same.left_out.get(column, pd.Series(False, same.old.index))
        for where in (left_out, ~left_out):
            if any(filled := same.old[column].notna() & where):
                row = same.old[filled].iloc[0].to_dict() | {"layer": str(len(columns))}
                kept.append(row)
                made.append(row | {column: other(row[column])})
                columns.append((column, where is left_out and isinstance(made[-1][column], str)))
    found = by_key(pd.DataFrame(kept), pd.DataFrame(made), NAMES, limits(name))
    for number, (column, text_left_out) in enumerate(columns):
        (at,) = found.old.index[found.old["layer"] == str(number)]
        if text_left_out:
            assert found.kinds[at] == LEFT_OUT
            assert {column, column.partition(".")[0]} & {*OF_RUN, "needs", "note", "verdict"}
        else:
            assert [*found.outside.columns[found.outside.loc[at]]] == [column], (column, made[number][column])
    assert len(columns) >= same.old.shape[1] - len(same.key) - same.old.isna().all().sum()


@pytest.mark.parametrize("name", [name for name in HELD if name != "study.yaml"])
def test_any_row_of_another_name_or_twice_or_missing_is_named(name: str) -> None:
    table = read_flat(results_of("demo") / name)[:20].astype(object)
    table = table.drop_duplicates([column for column in NAMES if column in table])
    for column in [column for column in NAMES if column in table and table[column].notna().any()]:
        altered = table.copy()
        altered.loc[table.index[0], column] = "another"
        found = by_key(table, altered, NAMES)
        assert len(found.failed) == 2 and {*found.kinds[found.failed]} == {MISSING, ADDED}, column
    for altered, kind in ((pd.concat([table, table[:1]]), ADDED), (table[:-1], MISSING)):
        (line,) = by_key(table, altered, NAMES).described()
        assert line.endswith(kind)


METRIC = "method == 'entropy' and draw == '' and metric == 'js_distance' and ratio == '0.3'"


@pytest.mark.parametrize(
    ("file", "query", "values", "said"),
    [
        (
            "results.csv",
            METRIC,
            {"n": 0.0001},
            "entropy, c4, 32, 0.3, none, fidelity, c4-sample-heldout, js_distance: n 8 →",
        ),
        ("results.csv", "unit == 's'", {"value": -5}, "cost, seconds: value "),
        ("study.yaml", "sequences: 32", "sequences: 33", "study.yaml: calibrations.c4.sequences 32 → 33"),
        (
            "effects.csv",
            "claim == 'lower-js-distance'",
            {"value": lambda x: -5 * float(x)},
            "claim, cross_entropy, none, js_distance, lower-js-distance: value",
        ),
        (
            "items.parquet",
            "nll > 0 and item == 3",
            {"nll": lambda x: 1.001 * x},
            "wikipedia-sample, 0, 3: nll ",
        ),
    ],
)
def test_an_altered_copy_fails_and_says_where(made: Path, capsys, file, query, values, said) -> None:
    if file.endswith("yaml"):
        (made / file).write_text((made / file).read_text().replace(query, values))
    else:
        change(made / file, query, **values)
    text = checked(made, capsys)
    assert text.startswith("Not the same numbers: ") and said in text.replace(
        "smollm2-135m-instruct-q4, ", ""
    )


def test_what_is_missing_is_listed_up_to_twenty(made: Path, capsys) -> None:
    for name in (gone := ["items.parquet", "claims.csv", "tables/table7.md"]):
        (made / name).unlink()
    rows = (made / "effects.csv").read_text().splitlines(keepends=True)
    (made / "effects.csv").write_text("".join([*rows[:-30], rows[1]]))
    text = checked(made, capsys)
    assert all(f"- {name}: missing\n" in text for name in gone)
    assert "Rows outside, missing or added: 34, of which these are the first 20." in text
    assert text.count("\n- ") == MOST


@pytest.mark.parametrize("name", HELD)
def test_a_file_that_is_empty_or_none_is_one_line(made: Path, name: str) -> None:
    for content in (b"", b"\x00\xff,{"):
        (made / name).write_bytes(content)
        assert str(made / name) in failure("check", "--results", made)


def test_the_paper_s_tables_are_those_of_the_run_s_own_numbers(made: Path, tmp_path: Path, capsys) -> None:
    kept = results_of("demo")
    files = sorted((made / "tables").iterdir())
    for file in files:
        lines = file.read_text().splitlines()
        number = next(at for at, line in enumerate(lines) if re.search(r"\d", line))
        lines[number] = re.sub(r"\d", lambda digit: str(9 - int(digit[0])), lines[number], count=1)
        file.write_text("\n".join(lines))
    same, text = reproduction(kept, made, lambda _names: kept / "tables", analysed)
    assert not same and all(f"- tables/{file.name}: " in text for file in files[:MOST]) and len(files) > MOST
    assert f": {len(files)}, of which" in text
    assert "- tables/claims.csv: 2: text " in checked(made, capsys)


@pytest.mark.thorough
def test_another_plan_has_its_values_within_the_intervals(made: Path, tmp_path: Path) -> None:
    """Only where the plan is another one."""
    cell = "model == 'smollm2-135m-instruct-q4' and method == 'entropy' and ratio == 0.3"
    level = METRIC + " and model == 'smollm2-135m-instruct-q4'"
    change(made / "results.csv", level, value=lambda x: float(x) + 1e-3)
    assert "not the numbers" in failure("check", "--results", made)

    def another(inputs: str) -> str:
        return json.dumps(json.loads(inputs) | {"plan": "another"}, sort_keys=True)

    change(made / "items.parquet", f"{cell} and js_distance > 0", js_distance=lambda x: x + 1e-3)
    assert "not the numbers" in failure("check", "--results", made)
    change(made / "records.parquet", cell, inputs=another)
    of_draw = level.replace("draw == ''", "draw == '0'")
    change(made / "results.csv", of_draw, value=lambda x: float(x) + 1e-3)
    change(made / "results.csv", level, **dict.fromkeys(("low", "high"), lambda x: float(x) + 1e-3))
    shutil.rmtree(made / "tables")
    run("effects", "--results", made)
    run("tables", "--results", made)
    run("check", "--results", made, "--out", tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text()
    assert text.startswith("Numbers within the intervals: "), text
    assert re.search(r"^\| results.csv +\| +954 \| +0 \| +1 \| +1 \|( +0 \|)+$", text, re.M)
    change(made / "results.csv", level, value=lambda x: float(x) + 1)
    assert "not the numbers" in failure("check", "--results", made)


def test_a_verdict_on_times_may_be_another_and_no_other_verdict() -> None:
    table = read_flat(results_of("cost") / "claims.csv")
    made = table.assign(verdict="another")
    found = by_key(table, made, NAMES, limits("claims.csv", "cost"))
    ran = found.old[found.old["basis"].notna() & found.old["verdict"].ne("not run")]
    kinds = found.kinds[ran.index].groupby(ran["claim"]).agg(set)
    assert kinds["faster-scoring"] == kinds["faster-prefill"] == {LEFT_OUT}
    assert kinds["as-many-parameters"] == {OUTSIDE}


@pytest.mark.parametrize("name", ["inputs.scores", "inputs.plan"])
def test_scores_and_plans_may_be_others_on_another_machine_alone(name: str) -> None:
    """Also in a study without any outcome that tells whether the model has changed."""
    records = read_flat(results_of("cost") / "records.parquet")
    other = records.assign(**{name: records[name].mask(records[name].notna(), "another")})
    declared = declare(load(Study, results_of("cost") / "study.yaml"))
    for made, fails in ((other, True), (other.assign(**{"hardware.processor": "another"}), False)):
        ((_, found),) = compared(declared, {"records.parquet": records}, {"records.parquet": made})
        assert bool(len(found.failed)) == fails


# What a study or a claim declares, which no run changes.
DECLARED = {"scale", "threshold", "margin", "published", "neutral"}


def test_every_number_that_follows_from_outcomes_may_move_with_them() -> None:
    """On another processor; a fraction that is none of these would be called another number."""
    for study in COMMITTED:
        for name in ("results.csv", "neurons.csv", *ANALYSED):
            table = pd.read_csv(results_of(study) / name)
            numbers = [column for column in table.select_dtypes("number") if column not in NAMES]
            fractions = {column for column in numbers if (table[column].dropna() % 1 != 0).any()}
            assert fractions <= {"value", *FOLLOWING} | DECLARED, (study, name)


def test_a_comment_in_the_code_of_a_measure_changes_no_number(made: Path, tmp_path: Path) -> None:
    """But its hash, which a run of later code has."""

    def later(inputs: str) -> str:
        roles = json.loads(inputs)
        return json.dumps(roles | {"measure": "another"} if "measure" in roles else roles, sort_keys=True)

    change(made / "records.parquet", "inputs != ''", inputs=later)
    run("check", "--results", made, "--out", tmp_path / "check.md")
    text = (tmp_path / "check.md").read_text()
    assert text.startswith("The same numbers, up to rounding: ")
    assert re.search(r"Not compared in records\.parquet: .*inputs\.measure", text)


def test_another_torch_is_named(made: Path, tmp_path: Path) -> None:
    change(
        made / "records.parquet",
        "model != ''",
        packages=lambda old: old.replace('"torch": "2.13.0', '"torch": "9.9.9'),
    )
    run("check", "--results", made, "--out", tmp_path / "check.md")
    assert "torch differs: 2.13.0+cpu → 9.9.9+cpu." in (tmp_path / "check.md").read_text()


def test_outside_a_checkout_and_for_a_study_that_git_lacks(
    made: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    change(made / "results.csv", "value != ''", study="mine")
    assert "holds no results/mine; give --against" in failure("check", "--results", made)
    monkeypatch.chdir(tmp_path)
    assert "is in no git checkout" in failure("check", "--results", made) and not capsys.readouterr().out
    run("check", "--results", made, "--out", tmp_path / "check.md")
    assert "is in no git checkout" in (tmp_path / "check.md").read_text()
    run("check", "--results", results_of("dose"), "--against", results_of("dose"))
