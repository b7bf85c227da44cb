"""Tables: numbers, the choice of the best, what ± means, layout in three formats, partial studies."""

import re
from pathlib import Path

import pandas as pd
import pytest
from analysis.synthetic import TASKS, Study

from hfprune.analysis.averages import with_averages
from hfprune.analysis.collect import read_collected
from hfprune.analysis.tables import TABLES, write_tables
from hfprune.errors import HfpruneError
from hfprune.results import DENSE, Value


def tables(folder: Path) -> Path:
    write_tables(folder / "results.parquet", folder / "tables")
    return folder / "tables"


def rows(markdown: Path) -> list[list[str]]:
    """Return the cells of a Markdown table, heading first."""
    lines = [line for line in markdown.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def column(markdown: Path, heading: str) -> list[str]:
    head, *body = rows(markdown)
    return [row[head.index(heading)] for row in body]


def score(study: Study, method: str, task: str, value: float, *, metric: str = "acc", **cell) -> None:
    ratio = 0.0 if method == DENSE else 0.2
    study.result(method, ratio, "zeroshot", task, Value(metric, value, 0.01, 100), **cell)


def test_criterion_by_hand(study: Study) -> None:
    for method, (boolq, mine) in {"dense": (0.7, 0.5), "random": (0.5, 0.4), "entropy": (0.6, 0.3)}.items():
        score(study, method, "boolq", boolq)
        score(study, method, "a_task", mine)
    study.result("entropy", 0.2, "size", "", Value("parameters", 100), Value("parameter_ratio", 0.1987))
    out = tables(study.collect())

    assert rows(out / "criterion.md") == [
        ["Ratio", "Method", "Removed", "BoolQ", "a_task", "Average"],
        ["0%", "Dense", "–", "70.0 ± 1.0", "50.0 ± 1.0", "60.0 ± 0.7"],
        ["20%", "Entropy", "19.9%", "**60.0 ± 1.0**", "30.0 ± 1.0", "**45.0 ± 0.7**"],
        ["20%", "Random", "–", "50.0 ± 1.0", "**40.0 ± 1.0**", "**45.0 ± 0.7**"],
    ]
    csv = pd.read_csv(out / "criterion.csv")
    assert csv["method"].tolist() == ["dense", "entropy", "random"]
    assert csv["boolq"].tolist() == [70, 60, 50] and csv["boolq_stderr"].tolist() == [1, 1, 1]
    assert csv["average_stderr"].tolist() == pytest.approx([0.5**0.5] * 3)
    assert csv.loc[1, "parameter_ratio"] == 0.1987

    text = (out / "criterion.md").read_text()
    assert "±: standard error over items, one seed." in text and "Items per task: 100." in text
    assert "plain mean of all tasks shown" in text and "Crows" not in text


def test_tasks_are_in_the_papers_order_with_its_names(collected: Path) -> None:
    head = rows(tables(collected) / "criterion.md")[0]
    assert head[3:] == ["ARCc", "ARCe", "BoolQ", "OBQA", "PIQA", "SiQA", "Wino", "Average"]


def test_best_is_per_ratio_and_never_the_dense_model(collected: Path) -> None:
    out = tables(collected)
    marked = [cell.startswith("**") for cell in column(out / "criterion.md", "Average")]
    # Rows: dense, then entropy, cross-entropy and magnitude at each ratio; the synthetic entropy is always best.
    assert marked == [False, True, False, False, True, False, False]
    assert column(out / "criterion.md", "Method")[:4] == ["Dense", "Entropy", "Cross-entropy", "Magnitude"]


def test_best_crows_is_the_nearest_to_half(study: Study) -> None:
    for method, value in {"dense": 0.5, "entropy": 0.58, "magnitude": 0.45, "random": 0.7}.items():
        score(study, method, "boolq", 0.6)
        score(study, method, "crows_pairs_english", value, metric="pct_stereotype")
    out = tables(study.collect())

    assert column(out / "criterion.md", "Crows") == [
        "50.0 ± 1.0",
        "58.0 ± 1.0",
        "**45.0 ± 1.0**",
        "70.0 ± 1.0",
    ]
    assert column(out / "criterion.md", "Average")[1] == "59.0 ± 0.7"
    assert column(out / "criterion.md", "Average w/o Crows")[1] == "**60.0 ± 1.0**"
    assert "Average counts it as an accuracy, as the paper does" in (out / "criterion.md").read_text()


def test_a_lone_method_is_not_the_best(study: Study) -> None:
    score(study, DENSE, "boolq", 0.7)
    score(study, "entropy", "boolq", 0.6)
    text = (tables(study.collect()) / "criterion.md").read_text()
    assert "**" not in text and "Bold" not in text


def test_several_seeds_show_their_deviation_and_the_error_over_items_apart(study: Study) -> None:
    score(study, DENSE, "boolq", 0.7)
    for seed, value in enumerate([0.5, 0.6, 0.7]):
        score(study, "entropy", "boolq", value, seed=seed)
    score(study, "random", "boolq", 0.4)
    out = tables(study.collect())

    assert column(out / "criterion.md", "BoolQ") == ["70.0 (1.0)", "**60.0 ± 10.0 (1.0)**", "40.0 (1.0)"]
    text = (out / "criterion.md").read_text()
    assert "±: standard deviation over 3 seeds; in brackets: standard error over items." in text
    csv = pd.read_csv(out / "criterion.csv")
    assert csv.loc[1, "boolq_sd"] == pytest.approx(10) and csv.loc[1, "boolq_stderr"] == pytest.approx(1)


def test_several_models_are_groups_of_rows(study: Study) -> None:
    for model in ("b", "a"):
        for method in (DENSE, "entropy"):
            score(study, method, "boolq", 0.6, model=model)
    out = tables(study.collect())
    assert column(out / "criterion.md", "Model") == ["a", "a", "b", "b"]
    assert column(out / "criterion.md", "Method") == ["Dense", "Entropy"] * 2


def test_recoveries_are_told_apart_where_there_are_several(study: Study) -> None:
    for recovery in ("none", "lora"):
        for method, value in {"entropy": 0.5, "random": 0.4}.items():
            score(study, method, "boolq", value, recovery=recovery)
    out = tables(study.collect())
    assert column(out / "criterion.md", "Recovery") == ["lora", "lora", "none", "none"]
    assert column(out / "criterion.md", "BoolQ") == ["**50.0 ± 1.0**", "40.0 ± 1.0"] * 2
    assert "without tuning" not in (out / "criterion.md").read_text()


def test_fidelity_by_hand(study: Study) -> None:
    for method, js, jaccard, ppl in [
        ("entropy", 0.2411, 0.45, 1234.5),
        ("cross_entropy", 0.2432, 0.46, 20.0),
    ]:
        values = (
            Value("js_distance", js, 0.001, 16),
            Value("top15_jaccard", jaccard),
            Value("kl_divergence", 1.0),
        )
        study.result(method, 0.2, "fidelity", "c4", *values)
        study.result(method, 0.2, "perplexity", "wiki", Value("perplexity", ppl, 0.5, 24))
    study.result(DENSE, 0.0, "perplexity", "wiki", Value("perplexity", 12.0, 0.25, 24))
    out = tables(study.collect())

    assert rows(out / "fidelity.md") == [
        ["Ratio", "Method", "JS distance", "Top-15 Jaccard", "KL divergence", "Perplexity"],
        ["0%", "Dense", "–", "–", "–", "12.00 ± 0.25"],
        ["20%", "Entropy", "**0.241 ± 0.001**", "0.450", "**1.000**", "1,234.50 ± 0.50"],
        ["20%", "Cross-entropy", "0.243 ± 0.001", "**0.460**", "**1.000**", "**20.00 ± 0.50**"],
    ]
    text = (out / "fidelity.md").read_text()
    assert "Fidelity on c4: n = 16." in text and "Perplexity on wiki: n = 24." in text


def test_several_corpora_are_told_apart(study: Study) -> None:
    for corpus, value in {"wiki": 20.0, "c4": 30.0}.items():
        study.result("entropy", 0.2, "perplexity", corpus, Value("perplexity", value))
    out = tables(study.collect())
    assert rows(out / "fidelity.md") == [
        ["Ratio", "Method", "Perplexity c4", "Perplexity wiki"],
        ["20%", "Entropy", "30.00", "20.00"],
    ]


def test_cost_by_hand(study: Study) -> None:
    for method, seconds, gib in [("entropy", 20.0, 2.0), ("my_method", 50.0, 3.0)]:
        values = Value("seconds", seconds), Value("peak_memory_bytes", gib * 2**30)
        study.result(method, None, "cost", "", *values)
    out = tables(study.collect())
    assert rows(out / "cost.md") == [
        ["Method", "Time (s)", "Peak memory (GiB)", "Time / Entropy", "Memory / Entropy"],
        ["Entropy", "20.0", "2.00", "1.00", "1.00"],
        ["my method", "50.0", "3.00", "2.50", "1.50"],
    ]


def test_cost_shows_how_well_calibration_determined_the_plan(study: Study) -> None:
    spent = Value("seconds", 1.0), Value("peak_memory_bytes", 2**30)
    study.result("entropy", None, "cost", "", *spent, Value("sequences", 1234.0), Value("agreement", 0.98765))
    study.result("magnitude", None, "cost", "", *spent)
    header, entropy, magnitude = rows(tables(study.collect()) / "cost.md")
    assert header[-2:] == ["Sequences", "Agreement"]
    assert entropy[-2:] == ["1,234", "0.988"]
    assert magnitude[-2:] == ["–", "–"]


def test_cost_without_entropy_has_no_multiples(study: Study) -> None:
    study.result("random", None, "cost", "", Value("seconds", 1.0), Value("peak_memory_bytes", 2**30))
    assert rows(tables(study.collect()) / "cost.md")[0] == ["Method", "Time (s)", "Peak memory (GiB)"]


def test_latex_is_complete_and_escaped(study: Study) -> None:
    score(study, "entropy", "boolq", 0.6)
    score(study, "random", "boolq", 0.5)
    score(study, DENSE, "boolq", 0.7)
    score(study, DENSE, "a_task", 0.7)
    tex = (tables(study.collect()) / "criterion.tex").read_text()

    assert [tex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    assert r"\label{tab:criterion}" in tex and r"\caption{Zero-shot accuracy (\%)" in tex
    assert r"20\% & Entropy & -- & \textbf{60.0 $\pm$ 1.0} & -- & -- \\" in tex
    assert r"a\_task" in tex and not re.search(r"(?<!\\)_", tex)
    assert tex.count("{") == tex.count("}") and tex.isascii()
    width = re.search(r"begin{tabular}{@{}([lr]+)@{}}", tex)
    assert width and {line.count("&") + 1 for line in tex.splitlines() if "&" in line} == {len(width[1])}


def test_average_in_the_table_is_that_of_the_tidy_rows(collected: Path) -> None:
    expected = with_averages(read_collected(collected / "results.parquet"))
    expected = expected[(expected["task"] == "average") & (expected["method"] == "magnitude")]
    csv = pd.read_csv(tables(collected) / "criterion.csv").query("method == 'magnitude'")
    assert csv["average"].tolist() == pytest.approx((100 * expected["value"]).tolist())
    assert len(csv) == 2


def test_writing_twice_gives_the_same_bytes(collected: Path, tmp_path: Path) -> None:
    write_tables(collected / "results.parquet", tmp_path / "a")
    write_tables(collected / "results.parquet", tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(f"{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex"))
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_an_empty_study_says_so_in_every_table(study: Study) -> None:
    out = tables(study.collect())
    for name in TABLES:
        assert "Not measured." in (out / f"{name}.md").read_text()
        assert "Not measured." in (out / f"{name}.tex").read_text()
        assert len((out / f"{name}.csv").read_text().splitlines()) == 1


def test_a_running_study_shows_what_it_has(tmp_path: Path) -> None:
    study = Study(tmp_path).write()
    last_task = [*TASKS][-1]
    for path in study.folder.glob(f"cells/*/entropy/0.3/**/zeroshot-{last_task}.json"):
        path.unlink()
    out = tables(study.collect())
    ratios, methods = column(out / "criterion.md", "Ratio"), column(out / "criterion.md", "Method")
    row = [*zip(ratios, methods, strict=True)].index(("30%", "Entropy"))
    assert column(out / "criterion.md", "Wino")[row] == column(out / "criterion.md", "Average")[row] == "–"
    assert column(out / "criterion.md", "PIQA")[row] != "–"


def test_tables_before_collecting_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match="run `hfprune collect` first"):
        write_tables(tmp_path / "results.parquet", tmp_path)
