"""Tables: numbers, ours beside the published, marks, the choice of the best, what ± means, partial studies."""

import re
import shutil
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from synthetic import PAPER, Study

from hfprune.cells import DENSE, Value
from hfprune.errors import HfpruneError
from hfprune.paper.printed import read_tables
from hfprune.report.publication import caption, publication_names
from hfprune.report.table_files import write_tables


def tables(folder: Path, *numbers: int) -> Path:
    write_tables(folder, PAPER, folder / "tables", [f"table{number}" for number in numbers] or None)
    return folder / "tables"


def rows(markdown: Path, model: str = "tiny-llama") -> list[list[str]]:
    part = markdown.read_text().split(f"**{model}**\n\n")[1].split("\n\n")[0]
    lines = part.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def column(markdown: Path, heading: str, model: str = "tiny-llama") -> list[str]:
    head, *body = rows(markdown, model)
    return [row[head.index(heading)] for row in body]


def csv(out: Path, number: int, source: str = "ours") -> pd.DataFrame:
    table = pd.read_csv(out / f"table{number}.csv")
    return table[table["source"] == source].reset_index(drop=True)


def score(study: Study, method: str, task: str, value: float, *, metric: str = "acc", **cell) -> None:
    ratio = 0.0 if method == DENSE else 0.2
    study.result(method, ratio, "zeroshot", task, Value(metric, value, 0.01, 100), **cell)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tables(Study(tmp_path_factory.mktemp("empty")).collect())


@pytest.fixture(scope="session")
def whole(collected: Path) -> Path:
    return tables(collected)


@pytest.mark.parametrize("number", range(1, 9))
def test_every_published_number_is_there_as_printed_with_its_doubts_and_never_the_best(
    empty: Path, number: int
) -> None:
    table, text = csv(empty, number, "paper"), (empty / f"table{number}.md").read_text()
    printed = read_tables(PAPER).query("table == @number")
    printed = printed[printed["column"] != "prefill_speedup_in_text"]  # in the notes, by its anomaly
    by = ["model", "method", "ratio", "recovery"]
    pairs = printed.merge(table, on=by)
    assert len(pairs) == len(printed)
    assert [row[row["column"]] for _, row in pairs.iterrows()] == pairs["value"].tolist()
    assert all(re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", text) for number in printed["printed"])
    # Nothing that the paper does not print but what follows from its own numbers.
    added = {"seconds_to_entropy", "memory_to_entropy"}
    columns = set(table.dropna(axis=1, how="all")) - {*by, "source", "doubts"}
    assert columns - set(printed["column"]) == (added if number == 5 else set())
    assert "Ours: not measured." in text
    doubted = printed[printed["confidence"] != "ok"]
    doubts = table["doubts"].dropna().astype(str).str.split("; ").explode()
    assert sorted(doubts) == sorted(doubted["column"] + ": " + doubted["confidence"])
    for anomaly in set(doubted["confidence"].str.findall(r"A\d+").explode().dropna()):
        assert f"\n- {anomaly}: " in text
    bold = [line for line in text.splitlines() if line.startswith("|") and "**" in line]
    assert not bold, "they have no intervals"


def test_suspect_cells_are_marked_and_explained(empty: Path) -> None:
    text = (empty / "table1.md").read_text()
    (line,) = [line for line in text.splitlines() if "LoRAPrune" in line and "| 20 %" in line]
    assert "| 65.9ᵃ |" in " ".join(line.split()) and line.count("ᵃ") == 1
    assert "- ᵃ suspect: A07.\n" in text and "- A07: TruthfulQA is 65.9" in text
    tex = (empty / "table1.tex").read_text()
    assert r"65.9\textsuperscript{a}" in tex and r"\textsuperscript{a} suspect: A07." in tex


def test_a_model_of_the_paper_stands_beside_it_and_in_its_own_table_only(study: Study) -> None:
    for model in ("llama-3.2-1b", "another"):
        for method in (DENSE, "entropy"):
            score(study, method, "boolq", 0.7, model=model, recovery="lora")
    study.result("entropy", 0.2, "size", "", Value("parameters", 8e8), Value("parameter_ratio", 0.2),
                 model="llama-3.2-1b")  # fmt: skip
    out = tables(study.collect(), 1, 2, 3)
    ours = csv(out, 2)
    assert ours["model"].tolist() == ["LLaMA3.2-1.2B"] * 2 + ["another"] * 2
    # A plan tells the parameters of its model after any recovery, and those of the dense one.
    assert ours["parameters"].tolist()[:2] == [1.0, 0.8]
    methods = column(out / "table2.md", "Method", "LLaMA3.2-1.2B")
    assert methods[:4] == ["Dense", "Dense + LoRA", "Entropy + LoRA", "Entropy + LoRA"]
    assert column(out / "table2.md", "Source", "LLaMA3.2-1.2B")[:4] == ["paper", "ours", "paper", "ours"]
    assert "LLaMA3.2-1.2B is llama-3.2-1b in this study." in (out / "table2.md").read_text()
    for number in (1, 3):
        assert set(csv(out, number)["model"]) == {"another"}


def test_inference_by_hand(study: Study) -> None:
    common = ("prefill_seconds", "decode_tokens_per_second", "flops")
    for method, ratio, numbers in [(DENSE, 0.0, (0.05, 100.0, 4e12)), ("entropy", 0.2, (0.04, 120.0, 3e12))]:
        values = [Value(metric, number) for metric, number in zip(common, numbers, strict=True)]
        if method != DENSE:  # against the dense model in turns, and so not the ratio of the two rows
            values += [Value("prefill_speedup", 1.3, 0.02, 9), Value("decode_speedup", 1.21, 0.03, 9)]
        study.result(method, ratio, "latency", "", *values)
    study.result("entropy", 0.2, "size", "", Value("parameters", 8e8), Value("parameter_ratio", 0.2))
    assert rows(tables(study.collect(), 4) / "table4.md") == [
        ["Ratio", "Method", "Source", "Params (B)", "Average", "Prefill (ms)", "Speed-up", "Decode (tok/s)",
         "Gain (%)", "TFLOPs", "Saved (%)"],
        ["0 %", "Dense", "ours", "1", "–", "50.0", "–", "100.0", "–", "4", "0.0"],
        ["20 %", "Entropy", "ours", "0.8", "–", "40.0", "1.30 ± 0.02", "120.0", "21.0 ± 3.0", "3", "25.0"],
    ]  # fmt: skip


def test_cost_by_hand(study: Study) -> None:
    cost = {"random": (10.0, 2.0, []), "my_method": (50.0, 3.0, [])}
    many = [Value("sequences", 1234.0), Value("agreement", 0.98765)]
    for costs in (cost, cost | {"entropy": (20.0, 2.0, many)}):
        for method, (seconds, gigabytes, more) in costs.items():
            values = [Value("seconds", seconds), Value("peak_memory_bytes", gigabytes * 1e9), *more]
            study.result(method, None, "cost", "", *values)
        out = tables(study.collect(), 5)
        if "entropy" not in costs:
            assert rows(out / "table5.md")[1][:4] == ["Random", "ours", "10.0", "–"], "no multiples of it"
    assert rows(out / "table5.md") == [
        ["Method", "Source", "Time (s)", "Time / Entropy", "Peak memory (GB)", "Memory / Entropy", "Sequences",
         "Agreement"],
        ["Entropy", "ours", "20.0", "1.00", "2.00", "1.00", "1,234", "0.988"],
        ["Random", "ours", "10.0", "0.50", "2.00", "1.00", "–", "–"],
        ["My method", "ours", "50.0", "2.50", "3.00", "1.50", "–", "–"],
    ]  # fmt: skip
    sdm = [row[:4] for row in rows(out / "table5.md", "LLaMA-2-7B")][2]
    assert sdm == ["SDMPrune", "paper", "1539.8", f"{1539.8 / 508.9:.2f}"]


def test_outputs_by_hand(study: Study) -> None:
    found = {"entropy": (0.2411, 0.45, 1234.5), "cross_entropy": (0.2432, 0.46, 20.0)}
    for method, (js, jaccard, perplexity) in found.items():
        values = Value("js_distance", js, 0.001, 16), Value("top15_jaccard", jaccard)
        study.result(method, 0.2, "fidelity", "c4", *values, Value("kl_divergence", 1.0))
        study.result(method, 0.2, "perplexity", "wiki", Value("perplexity", perplexity, 0.5, 24))
    study.result(DENSE, 0.0, "perplexity", "wiki", Value("perplexity", 12.0, 0.25, 24))
    out = tables(study.collect(), 7)
    assert rows(out / "table7.md") == [
        ["Ratio", "Method", "Source", "JS distance", "Top-15 Jaccard", "KL divergence", "Perplexity"],
        ["0 %", "Dense", "ours", "–", "–", "–", "12.00 ± 0.25"],
        # Only the perplexities are told apart by their intervals; two metrics have none.
        ["20 %", "Entropy", "ours", "0.241 ± 0.001", "0.450", "1.000", "1,234.50 ± 0.50"],
        ["20 %", "Cross-entropy", "ours", "0.243 ± 0.001", "0.460", "1.000", "**20.00 ± 0.50**"],
    ]
    text = (out / "table7.md").read_text()
    assert "Fidelity on c4 in ours: n = 16." in text and "Perplexity on wiki in ours: n = 24." in text
    study.result(DENSE, 0.0, "perplexity", "c4", Value("perplexity", 9.0))
    assert rows(tables(study.collect(), 7) / "table7.md")[0][-2:] == ["Perplexity c4", "Perplexity wiki"]


def test_attention_and_mlp_leaves_truthfulqa_out(study: Study) -> None:
    for method in (DENSE, "entropy", "entropy_attention", "random"):
        for recovery in ("none", "lora"):
            score(study, method, "boolq", 0.6, recovery=recovery)
            score(study, method, "truthfulqa_mc2", 0.2, recovery=recovery)
    out = tables(study.collect(), 6, 8)
    assert column(out / "table8.md", "Method") == [
        *("Dense", "Dense + LoRA", "Entropy", "Entropy, attn+MLP"),
        *("Entropy + LoRA", "Entropy, attn+MLP + LoRA"),
    ]
    assert csv(out, 8)["average"].tolist() == [60.0] * 6
    assert csv(out, 6)["average"].tolist() == [40.0] * 4


@pytest.mark.parametrize(
    ("measure", "error", "values", "shown"),
    [
        # Half the interval of each is t(99) = 1.984 points: apart from 3.968 points on.
        ("zeroshot-boolq-acc", 0.01, [0.6, 0.5, 0.644], ["60.0", "50.0", "**64.4**"]),
        ("zeroshot-boolq-acc", 0.01, [0.6, 0.5, 0.636], ["60.0", "50.0", "63.6"]),
        # Apart by intervals of their logarithms: 10,000 less its plain interval would be below zero.
        ("perplexity-wiki-perplexity", 0.5, [20, 1e4], ["**20 ± 10**", "10,000 ± 5,000"]),
    ],
)
def test_nothing_is_bold_whose_interval_overlaps_another(
    study: Study, measure: str, error: float, values: list[float], shown: list[str]
) -> None:
    measure, task, metric = measure.split("-")
    for method, value in zip(["entropy", "magnitude", "random"], values, strict=False):
        value = Value(metric, value, error * (value if metric == "perplexity" else 1), 100)
        study.result(method, 0.2, measure, task, value)
    number, heading = (6, "BoolQ") if metric == "acc" else (7, "Perplexity")
    assert column(tables(study.collect(), number) / f"table{number}.md", heading) == shown


def test_best_is_per_ratio_and_never_the_dense_model_and_for_crows_the_nearest_to_half(study: Study) -> None:
    found = {DENSE: [(0.9, 0.5)], "entropy": [(0.7, 0.58), (0.4, 0.5)], "random": [(0.5, 0.48), (0.6, 0.7)]}
    for method, values in found.items():
        for ratio, (boolq, crows) in zip([0.0] if method == DENSE else [0.2, 0.3], values, strict=True):
            study.result(method, ratio, "zeroshot", "boolq", Value("acc", boolq, 0.01, 100))
            crows = Value("pct_stereotype", crows, 0.01, 100)
            study.result(method, ratio, "zeroshot", "crows_pairs_english", crows)
    out = tables(study.collect(), 6) / "table6.md"
    assert column(out, "Method") == ["Dense", *["Entropy", "Random"] * 2]
    assert column(out, "BoolQ") == ["90.0", "**70.0**", "50.0", "40.0", "**60.0**"]
    assert column(out, "Crows") == ["50.0", "58.0", "**48.0**", "**50.0**", "70.0"]
    assert column(out, "Average")[1] == "**64.0 ± 0.7**"
    assert column(out, "w/o Crows")[1] == "**70.0 ± 1.0**"
    assert "Average counts it as an accuracy, as the paper does" in out.read_text()


def test_several_draws_show_their_deviation_first(study: Study) -> None:
    score(study, DENSE, "boolq", 0.7)
    for draw, value in enumerate([0.5, 0.6, 0.7]):
        score(study, "entropy", "boolq", value, draw=draw)
    score(study, "random", "boolq", 0.4)
    out = tables(study.collect(), 6)
    assert column(out / "table6.md", "Average") == ["70.0 (1.0)", "60 ± 10 (1.0)", "40.0 (1.0)"]
    said = "±: standard deviation over 3 draws, and in brackets standard error"
    assert said in (out / "table6.md").read_text()
    assert csv(out, 6)["boolq_sd"].tolist() == pytest.approx([float("nan"), 10, float("nan")], nan_ok=True)


def test_every_table_of_another_model_shows_it_beside_the_paper(whole: Path) -> None:
    for number in range(1, 9):
        assert len(csv(whole, number, "paper")) >= 3 and "tiny-llama" in set(csv(whole, number)["model"])
        assert (whole / f"table{number}.md").read_text().count("**tiny-llama**") == 1
    assert "no pruned model under the conditions of this table" in (whole / "table1.md").read_text()
    names = ["ARCc", "ARCe", "BoolQ", "Crows", "OBQA", "PIQA", "Race", "SiQA", "TfQA", "Wino", "Average"]
    assert rows(whole / "table6.md")[0][3:] == names, "in the paper's order, with its names"


@pytest.mark.parametrize(
    ("file", "columns", "message"),
    [
        *((name, None, "cannot read it") for name in ("claims.yaml", "anomalies.csv", "tables/table5.csv")),
        ("tables/table7.csv", ["confidence"], "lacks the column confidence"),
    ],
)
def test_a_missing_part_of_the_paper_is_named(
    collected: Path, tmp_path: Path, file: str, columns: list[str] | None, message: str
) -> None:
    path = shutil.copytree(PAPER, tmp_path / "paper") / file
    if columns:
        pd.read_csv(path, dtype=str).drop(columns=columns).to_csv(path, index=False)
    else:
        path.unlink()
    with pytest.raises(HfpruneError, match=f"{path.name}: {message}"):
        write_tables(collected, tmp_path / "paper", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_are_in_the_papers_order_and_captions_are_the_docstrings() -> None:
    names = publication_names("tables")
    assert names[:8] == [f"table{number}" for number in range(1, 9)]
    for name in names:
        doc = import_module(f"hfprune.report.tables.{name}").__doc__
        assert doc and caption("tables", name) == " ".join(doc.split())


def test_tables_of_what_was_not_written_are_named_and_some_can_be_asked_for(
    collected: Path, tmp_path: Path
) -> None:
    lacking = write_tables(collected, PAPER, tmp_path, ["table7", "measures"])
    written = [f"{name}.{suffix}" for name in ("measures", "table7") for suffix in ("csv", "md", "tex")]
    assert sorted(path.name for path in tmp_path.iterdir()) == written and not lacking
    assert write_tables(collected, PAPER, tmp_path)["claims"] == ["claims.csv"]
    with pytest.raises(HfpruneError, match=r"no claims\.csv, which the table claims needs"):
        write_tables(collected, PAPER, tmp_path, ["claims"])
