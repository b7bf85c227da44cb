"""`hfprune compare`, on what stock lm-eval wrote, on checkpoints, and on constructed outcomes."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import failure, run
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from scipy.stats import binomtest, t, ttest_1samp
from smoke import save_model, write, write_sources

from hfprune.assets.known_tasks import known_task
from hfprune.assets.tasks import task_files
from hfprune.comparison.two_results import commonest_answers, conclusions, effects, needed, shown
from hfprune.evaluation.lm_tasks import offline_tasks
from hfprune.models.shape import Shape
from hfprune.provenance import identity
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import contrast


def stock(model: str, *tasks: str, shots: int = 0) -> None:
    """Evaluate a model, and write the results as lm-eval's own command does."""
    tracker = EvaluationTracker(output_path=f"logged/{model}{shots or ''}")
    lm = HFLM(model, device="cpu", backend="causal", add_bos_token=True, batch_size=8)
    with offline_tasks({task: task_files(Path("tasks") / task)[task] for task in tasks}) as manager:
        settings = {"task_manager": manager, "evaluation_tracker": tracker, "num_fewshot": shots}
        found = simple_evaluate(lm, tasks=[*tasks], **settings)
    samples = found.pop("samples")
    tracker.save_results_aggregated(found, samples)
    for task in tasks:
        tracker.save_results_samples(task, samples[task])


def compared(call: str) -> pd.DataFrame:
    run(f"compare {call} --out found.json")
    found = rows_of(Path("found.json"))
    return found[found["family"].ne("") | found["task"].eq("")].set_index("task")


def rows_of(file: Path) -> pd.DataFrame:
    return pd.DataFrame(json.loads(file.read_text())["effects"])


def test_stock_results_and_their_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "assets.yaml", write_sources(tmp_path))
    run("fetch tasks/piqa tasks/arc_easy --catalogue assets.yaml --resources .")
    for model, architecture in (("one", "qwen3"), ("two", "llama")):
        save_model(architecture, tmp_path / model)
        stock(model, "arc_easy", "piqa")
    stock("two", "arc_easy", shots=1)
    found, each = compared("logged/one logged/two"), {}
    others = rows_of(Path("found.json")).query("family == '' and task != ''").set_index("task")
    whole = json.loads(Path("found.json").read_text())
    assert {name for names in whole["legend"] for name in names.split(", ")} <= whole["effects"][0].keys()
    places_of = whole["commonest"]
    found, others = (rows.assign(A=rows["base"], B=rows["base"] + rows["value"]) for rows in (found, others))
    assert {*others["metric"]} == {"acc"}
    for side, model in (("A", "one"), ("B", "two")):
        (results,) = Path("logged", model).rglob("results_*.json")
        (samples,) = Path("logged", model).rglob("samples_arc_easy_*.jsonl")
        rows = sorted(map(json.loads, samples.open()), key=lambda row: row["doc_id"])
        each[side] = np.array([row["acc_norm"] for row in rows])
        of_tasks = json.loads(results.read_text())["results"]
        for task in ("arc_easy", "piqa"):
            assert found.loc[task, side] == pytest.approx(100 * of_tasks[task]["acc_norm,none"])
            assert others.loc[task, side] == pytest.approx(100 * of_tasks[task]["acc,none"])
        places = [np.argmax([float(value) for value, _ in row["filtered_resps"]]) for row in rows]
        assert places_of["arc_easy"]["AB".index(side)] == 10 * max(np.bincount(places))
    assert (each["A"] != each["B"]).any(), "else the interval shows little"
    ends, row = paired_t([*(each["B"] - each["A"]), 1, -1])[:2], found.loc["arc_easy"]
    assert row["low"] <= ends[0] + 1e-6 and row["high"] >= ends[1] - 1e-6
    assert row["high"] - row["low"] < 1.1 * (ends[1] - ends[0]), "longer where it is skewed"
    measured = compared("one two --tasks tasks/arc_easy tasks/piqa --dtype float32")
    pd.testing.assert_frame_equal(measured, found[measured.columns])
    before = {path: path.read_bytes() for path in Path("found").rglob("*.*")}
    Path("empty").mkdir()
    assert "empty" in failure("compare two empty --tasks tasks/arc_easy --dtype float32 --out found.json")
    assert before and {path: path.read_bytes() for path in Path("found").rglob("*.*")} == before

    low = found.loc["", "low"]
    run(f"compare logged/one logged/two --margin {-low + 1}")
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run(f"compare logged/one logged/two --margin {-low - 1} --out found.md")
    said = capsys.readouterr().out
    assert end.value.code == 1 and said == Path("found.md").read_text()
    assert (
        "| arc_easy | acc_norm |" in said
        and "B is not shown to be within the margin of A: the low end" in said
    )

    text = samples.read_text()
    for old, new, message in (
        ('"prompt_hash": "', '"prompt_hash": "0', "task arc_easy: A and B had other prompts"),
        ('"doc_hash": "', '"doc_hash": "0', "task arc_easy: A and B had other questions"),
        ('"doc_hash"', '"hash"', "not as lm-eval 0.4.3 or later logs"),
        ('"acc_norm": ', '"acc_norm": 2', "task arc_easy: acc_norm is not from 0 to 1"),
    ):
        samples.write_text(text.replace(old, new))
        assert message in failure("compare logged/one logged/two")
    samples.write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert "A answered 10 questions and B 9; evaluate both" in failure("compare logged/one logged/two")
    samples.write_text("")
    assert "holds no answers; run lm-eval again" in failure("compare logged/one logged/two")
    results.rename("aside.json")
    assert "is not beside it; copy the whole folder" in failure("compare logged/one logged/two")
    Path("aside.json").rename(results)
    for call, message in {
        "nowhere": "nowhere: no such folder; two models take --tasks",
        "logged/two --tasks boolq": "task boolq: neither A nor B has it; choose by --tasks",
        "logged/two1 --tasks arc_easy": "task arc_easy: A and B had other numbers of few-shot",
        "logged/two1 --tasks piqa": "task piqa: B lacks it; choose by --tasks",
        "logged": "logged: results of 3 models; give the folder of one, as logged/one",
        "two": "two: no samples of lm-eval (--log_samples) there; two models take --tasks",
    }.items():
        samples.write_text(text)
        assert message in failure(f"compare logged/one {call}")
    samples.with_name("samples_arc_easy_2019-11-29T15-01-35.jsonl").write_text("{}")
    pd.testing.assert_frame_equal(compared("logged/one logged/two"), found[measured.columns])


def test_answers_lie_in_a_folder_of_the_pair_that_no_other_pair_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "assets.yaml", write_sources(tmp_path))
    run("fetch tasks/piqa tasks/arc_easy --catalogue assets.yaml --resources .")
    for model, architecture in (("dense", "qwen3"), ("pruned/model", "llama"), ("third", "qwen2")):
        save_model(architecture, tmp_path / model)
    settings = "--dtype float32 --documents 6"
    run(f"compare dense pruned/model --tasks tasks/arc_easy {settings}")
    folder = Path("compared/dense--pruned-model")
    said = capsys.readouterr().err
    places = [said.index(text) for text in (" to answer", f"the answers are kept in {folder}/A")]
    assert places == sorted(places), "how long it takes is said before"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["models"] == {
        side: {"path": model, "sha256": identity(Path(model))}
        for side, model in (("A", "dense"), ("B", "pruned/model"))
    }
    asked = {"documents": 6, "add_bos": True, "shots": None, "chat": False, "dtype": "float32"}
    assert manifest["settings"] == asked
    run(f"compare dense third --tasks tasks/piqa {settings}")
    assert {path.name for path in Path("compared").iterdir()} == {"dense--pruned-model", "dense--third"}
    assert not [*Path("compared/dense--third").rglob("arc_easy*")]

    capsys.readouterr()
    read: list[float] = []
    monkeypatch.setattr(Shape, "forward", lambda _, tokens, __: read.append(tokens) or 0.0)
    run(f"compare dense pruned/model --tasks tasks/arc_easy tasks/piqa {settings}")
    assert read == [6 * known_task("piqa").tokens] * 2, "the time of what is not there"
    assert json.loads((folder / "manifest.json").read_text())["tasks"] == ["arc_easy", "piqa"]
    capsys.readouterr()
    run(f"compare dense pruned/model --tasks tasks/piqa {settings}")
    said = capsys.readouterr().err
    assert (
        f"the answers were there, in {folder}/A" in said and "minutes" not in said and "are kept" not in said
    )
    assert json.loads((folder / "manifest.json").read_text())["tasks"] == ["arc_easy", "piqa"]

    before = {path: path.read_bytes() for path in Path().rglob("compared/**/*.*")}
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("mine")
    for call, message in {
        f"dense third --tasks tasks/piqa {settings} --out {folder}.md": f"{folder}: holds the answers of dense "
        "and pruned/model, as they were then; name another by --out (nothing was touched)",
        "dense third --tasks tasks/piqa --dtype float32 --documents 5": "compared/dense--third: holds answers "
        "with documents 6, not 5; name another by --out (nothing was touched)",
        f"dense third --tasks tasks/piqa {settings} --out thesis.md": "thesis: holds something else (chapter.tex)",
        f"dense third --tasks tasks/piqa {settings} --out found": "--out: must be a file ending in .md or .json",
        f"dense third --tasks tasks/nothing {settings} --out new.md": "no task 'tasks/nothing'",
    }.items():
        assert message in failure(f"compare {call}")
    assert before and {path: path.read_bytes() for path in Path().rglob("compared/**/*.*")} == before
    assert not Path("new").exists()
    assert "are kept" not in capsys.readouterr().err, "nothing was made"


def test_both_metrics_are_shown_and_one_counts() -> None:
    """`acc` falls from 50 to 41 % by 12 and 3 questions of 100 (McNemar), while `acc_norm` stays."""
    right = np.repeat([1.0, 0.0], 50)
    fallen = right.copy()
    fallen[:12], fallen[50:53] = 0, 1
    a, b = answers(right[None]), answers(right[None])
    for side, outcomes in ((a, right), (b, fallen)):
        side["task0"] = side["task0"].assign(metric="acc_norm", acc=outcomes)
    counting, other, mean = rows = effects(a, b, [])
    assert [(row.task, row.metric, row.family, row.tasks) for row in rows] == [
        ("task0", "acc_norm", "the tasks", 1),
        ("task0", "acc", "", 1),
        ("", "average", "", 1),
    ]
    assert {(row.question, row.method, row.against, row.unit, row.better) for row in rows} == {
        ("pair", "B", "A", "points", "higher")
    }
    assert (counting.value, other.base, other.own, mean.value) == pytest.approx((0, 50, 41, 0))
    assert 0.01 < other.p < 0.05 and np.isnan(other.holm)
    assert mcnemar_p(12, 3) == pytest.approx(other.p, abs=0.03)
    text = shown(rows, {}, None)
    assert re.search(r"^\| task0 +\| acc +\| 100 \|  50 \|  41 \|", text, re.MULTILINE)
    assert "`metric`: a task counts by the first of pct_stereotype, acc_norm, acc that it has" in text
    said, _ = conclusions(rows, None)
    assert said[-1] == "No single task is shown to differ, after Holm's correction for one task."


def mcnemar_p(lost: int, won: int) -> float:
    return binomtest(won, lost + won).pvalue


def test_every_column_has_a_legend(tmp_path: Path) -> None:
    a = answers(np.random.default_rng(3).integers(0, 2, (1, 40)).astype(float))
    b = answers(np.random.default_rng(4).integers(0, 2, (1, 40)).astype(float))
    for side in (a, b):
        side["task0"]["loglikelihood"] = [[-1.0, -2.0]] * 40
    rows = effects(a, b, [])
    head, *_ = (text := shown(rows, commonest_answers(a, b, rows), None)).splitlines()
    columns = [column.strip() for column in head.strip("|").split("|")]
    listed = [name for names in re.findall(r"^- `(.+?)`: ", text, re.MULTILINE) for name in names.split(", ")]
    assert [column.removesuffix(" (95 % interval)") for column in columns if column != "task"] == listed


def answers(outcomes: np.ndarray) -> dict[str, pd.DataFrame]:
    """A task a row."""
    table = pd.DataFrame({"item": range(outcomes.shape[1]), "loglikelihood": [[]] * outcomes.shape[1]})
    table = table.assign(metric="acc", shots=0, prompt="", doc_hash="", target="0")
    table = table.set_index(["item", "doc_hash"])
    return {f"task{number}": table.assign(outcome=row) for number, row in enumerate(outcomes)}


def paired_t(differences: list[float]) -> list[float]:
    found = ttest_1samp(100 * np.array(differences), 0)
    return [*found.confidence_interval(), found.pvalue]


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    """Where no difference is skewed; with the pair of Bonett and Price where outcomes are right or wrong."""
    a = np.array([np.tile([1.0, 0.0], 20), np.linspace(0.1, 0.9, 40)])
    differences = np.array([[-1, 1] * 4 + [0] * 32, [0.05, 0.01, 0.03, 0.03] * 10])
    first, second, mean = effects(answers(a), answers(a + differences), [])
    for row, expected in ((first, [*differences[0], 1, -1]), (second, differences[1])):
        assert [row.low, row.high, row.p] == pytest.approx(paired_t(expected), rel=1e-4)
    # Half of the interval and the 80 % quantile, in standard errors; questions grow with its square.
    sem = 100 * differences[1].std(ddof=1) / 40**0.5
    assert second.detectable == pytest.approx((t.ppf(0.975, 39) + t.ppf(0.8, 39)) * sem, rel=1e-4)
    assert needed(second, 1.0) == np.ceil(40 * (second.detectable / (second.value + 1)) ** 2)
    assert second.holm == 2 * second.p and mean.value == pytest.approx(1.5)


@pytest.mark.parametrize(("n", "shares"), [(200, (0.4, 0.15, 0.1, 0.35)), (100, (0.6, 0.005, 0.01, 0.385))])
def test_coverage(n: int, shares: tuple[float, ...]) -> None:
    """Of correlated outcomes; where few differ, the interval is too long. Without the pair it covers 77 %."""
    drawn = np.random.default_rng(4).choice(4, (300, n), p=shares)
    a, b = (answers(np.isin(drawn, right).astype(float)) for right in ((0, 1), (0, 2)))
    found = pd.DataFrame(effects(a, b, []))[:-1]
    truth, error = 100 * (shares[2] - shares[1]), 2 * (0.95 * 0.05 / 300) ** 0.5
    covered = (found["low"].le(truth) & found["high"].ge(truth)).mean()
    assert 0.95 - error <= covered <= (0.95 + error if n == 200 else 1)


def test_few_questions_have_no_interval_and_sentences_say_what_the_table_says() -> None:
    few = answers(np.array([[1.0, 0, 1, 0, 1, 0]])), answers(np.array([[0.0, 0, 1, 1, 1, 0]]))
    rows = effects(*few, [])
    assert not any(row.effect.has_interval or needed(row, None) for row in rows)
    assert conclusions(rows, None) == (["Fewer than 8 questions have no interval: task0, average."], None)

    a = np.array([np.tile([1.0, 0.0], 50), np.tile([1.0, 0.0], 50)])
    b = a.copy()
    b[0, :40:2] = 0  # twenty of a hundred are lost
    rows = effects(answers(a), answers(b), [])
    said, within = conclusions(rows, 1.0)
    assert said[0] == "A and B have a significant difference on the mean."
    assert said[1] == "They differ significantly on task0, after Holm's correction for 2 tasks."
    assert said[-1].startswith("More questions would not show it") and within is False
    lacking = [needed(row, 1.0) is None for row in rows]
    assert lacking == [True, False, True], "as far as the difference stays as it is"
    text = shown(rows, {}, 1.0)
    assert f"| {rows[0].value:+.0f} (".replace("-", "−") in text.replace(".0", "")
    assert text.count("*") == 1


def test_the_interval_is_that_of_a_study(tmp_path: Path) -> None:
    """Of the same two models: `estimate` of a contrast that no draw changes, in points."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, (2, 1, 40)).astype(float)
    generated = [{"task0": answers(x)["task0"].assign(metric="exact_match")} for x in (a, b)]
    row, _ = effects(*generated, [])
    assert (row.metric, row.base, row.unit) == ("exact_match", pytest.approx(100 * a.mean()), "points")
    sides = [{None: {"task": pd.Series(x[0])}} for x in (b, a)]
    found = estimate(contrast([*zip((1.0, -1.0), sides, strict=True)]))
    assert [row.low, row.high] == pytest.approx([100 * found.low, 100 * found.high])
