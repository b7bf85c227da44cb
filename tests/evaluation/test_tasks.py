"""The measure `tasks` against stock lm-eval, by item: groups, examples, chat templates, stops and filters."""

import random
from pathlib import Path
from typing import Any

import datasets
import pytest
from conftest import build_tiny
from families import build
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from smoke import build_tokenizer

from hfprune.assets.catalogue import Catalogue
from hfprune.assets.fetching import fetch_asset
from hfprune.assets.tasks import task_files
from hfprune.errors import HfpruneError
from hfprune.evaluation.beginning import Beginning
from hfprune.evaluation.lm import PrefixTreeLM
from hfprune.evaluation.lm_tasks import evaluate_task, offline_tasks
from hfprune.evaluation.measured_model import Subject
from hfprune.evaluation.prefix_tree import stems
from hfprune.measures.tasks import WRITTEN, Tasks
from hfprune.measures.zeroshot import Zeroshot
from hfprune.models.load import load_model, load_tokenizer
from hfprune.settings import validate

datasets.disable_progress_bars()
TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
PLACES = ("harbour", "valley", "old town", "mill", "island", "fort")


def asked(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Documents of nq_open's form."""
    return [
        {"question": f"how many houses had the {PLACES[n % 6]} in {1800 + n}", "answer": [f"{n * 7}"]}
        for n in range(start, start + count)
    ]


def chosen(count: int, start: int) -> list[dict[str, Any]]:
    """Documents of WMDP's form."""
    return [
        {
            "question": f"What is {n} and {n}?",
            "choices": [str(n), str(n + n), "none", "a mill"],
            "answer": n % 4,
        }
        for n in range(start, start + count)
    ]


def fetched(folder: Path, name: str, places: dict[str, list[dict[str, Any]]]) -> Path:
    """Fetch a task from saved datasets, by CONFIG/SPLIT."""
    for place, documents in places.items():
        datasets.Dataset.from_list(documents).save_to_disk(str(folder / "source" / place))
    source = {"provider": "local", "path": str(folder / "source")}
    catalogue = validate(Catalogue, {"tasks": {name: {"source": source, "format": "datasets"}}}, "test")
    out = folder / "tasks" / name
    fetch_asset("tasks", name, catalogue.tasks[name], out, folder)
    return out


def compare(model: Path, task: Path, settings: dict[str, Any], batch: int = 4) -> Any:
    """Measure a task by `Tasks` and by lm-eval's own evaluation, whose items must be equal; return ours."""
    subject = Subject(load_model(model, "float32"), tokenizer=load_tokenizer(model))
    (measure,) = Tasks(tasks=[str(task)], **settings).by_task().values()
    values, items = measure.run(subject)
    options = {"backend": "causal", "device": "cpu", "add_bos_token": measure.add_bos, "dtype": "float32"}
    stock = HFLM(str(model), batch_size=batch, **options)
    with offline_tasks(task_files(task), task.name) as manager:
        found = simple_evaluate(
            stock,
            tasks=[task.name],
            task_manager=manager,
            num_fewshot=measure.shots,
            apply_chat_template=measure.chat,
            bootstrap_iters=0,
        )
    start = 0
    for samples in found["samples"].values():
        for sample in samples:
            row = items[items["item"] == start + sample["doc_id"]].iloc[0]
            assert row["target"] == str(sample["target"])
            if "answer" in items:
                assert row["answer"] == sample["resps"][0][0]
            else:
                theirs = [response[0] for response in sample["resps"]]
                assert row["loglikelihood"] == pytest.approx([x for x, _ in theirs], abs=2e-3)
                assert list(row["greedy"]) == [hit for _, hit in theirs]
            for metric in sample["metrics"]:
                column = metric if sample["filter"] == "none" else f"{metric},{sample['filter']}"
                assert row[column] == sample[metric]
        start += len({sample["doc_id"] for sample in samples})
    assert len(items) == start
    theirs = found["results"][task.name]
    for value in values[1:]:
        metric, _, filter = value.metric.partition(",")
        assert value.value == pytest.approx(theirs[f"{metric},{filter or 'none'}"], abs=1e-6)
    return values, items


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tiny models with a tokenizer that has a chat template."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = build_tokenizer()
    tokenizer.chat_template = TEMPLATE
    for family in ("llama", "qwen3"):
        build_tiny(family, vocab_size=len(tokenizer), max_position_embeddings=4096).save_pretrained(
            folder / family
        )
        tokenizer.save_pretrained(folder / family)
    return folder


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"shots": 0}),
        ("qwen3", {"shots": 3}),
        ("llama", {"shots": 2, "chat": True, "add_bos": False}),
    ],
)
def test_written_answers_equal_stock(
    family: str, settings: dict[str, Any], tiny_models: Path, tmp_path: Path
) -> None:
    """The examples of nq_open are others for each question, of its training split; three stop sequences."""
    task = fetched(tmp_path, "nq_open", {"None/train": asked(9), "None/validation": asked(7, 20)})
    values, items = compare(tiny_models / family, task, settings)
    assert [value.metric for value in values] == ["score", "exact_match,remove_whitespace"]
    assert items["answer"].map(len).nunique() > 1, "the rows end at different places"
    assert not items["answer"].str.contains(r"[\n.,]").any()


def test_several_filters_and_examples_that_all_questions_share(tiny_models: Path, tmp_path: Path) -> None:
    worked = [{"question": row["question"], "answer": f"So.\n#### {row['answer'][0]}"} for row in asked(5)]
    task = fetched(tmp_path, "gsm8k_cot", {"main/test": worked})
    values, items = compare(tiny_models / "llama", task, {"shots": 2})
    names = ["exact_match,strict-match", "exact_match,flexible-extract"]
    assert [value.metric for value in values] == ["score", *names]
    assert items["score"].equals(items[names[0]]), "a task counts by its first filter"


@pytest.mark.parametrize(
    "settings", [{"shots": 5, "batch_tokens": 64}, {"shots": 2, "chat": True, "add_bos": False}]
)
def test_groups_equal_stock(
    settings: dict[str, Any], tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tasks of different sizes, whose examples come from the questions; lm-eval weighs them by size."""
    monkeypatch.setattr(
        "hfprune.evaluation.lm.TREE_TOKENS", 256
    )  # so that few questions fill more than a tree
    parts = {f"wmdp-{name}/test": chosen(6 + n, 10 * n) for n, name in enumerate(("bio", "chem", "cyber"))}
    task = fetched(tmp_path, "wmdp", parts)
    values, items = compare(tiny_models / "qwen3", task, settings)
    assert [value.metric for value in values] == ["score", "acc"]
    assert values[0].value == pytest.approx(values[1].value) and values[0].n == 21
    assert items["item"].tolist() == [*range(21)]


@pytest.mark.parametrize("family", ["llama3", "phi3", "gemma3"])
def test_examples_that_all_questions_share_are_read_once(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a window, with one in all layers, and in some: a question may see the last of the examples alone."""
    monkeypatch.setattr("hfprune.evaluation.lm.TREE_TOKENS", 256)
    parts = {"astronomy/dev": chosen(5, 50), "astronomy/test": chosen(9, 0)}
    task = fetched(tmp_path, "mmlu_astronomy", parts)
    model, tokenizer = build(family), build_tokenizer()
    model.config.max_position_embeddings = 2048
    if family != "llama3":
        model.config.sliding_window = 150
    read: list[int] = []
    plain = Beginning.read
    monkeypatch.setattr(Beginning, "read", lambda on, tokens: read.append(len(tokens)) or plain(on, tokens))
    ours = PrefixTreeLM(model, tokenizer=tokenizer, batch_tokens=64)
    stock = HFLM(model, tokenizer=tokenizer, backend="causal", batch_size=1)
    with offline_tasks(task_files(task)) as manager:
        found, expected = (evaluate_task(lm, manager, task.name, None, shots=5)[1] for lm in (ours, stock))
    assert len(read) == 1 and read[0] > 150
    assert found["greedy"].map(list).tolist() == expected["greedy"].map(list).tolist()
    for mine, theirs in zip(found["loglikelihood"], expected["loglikelihood"], strict=True):
        assert list(mine) == pytest.approx(list(theirs), abs=2e-3)


def test_cost_counts_the_examples_that_a_task_has_by_itself() -> None:
    """As lm-eval has them: eight of gsm8k_cot, three of each task of a group, and none of MMLU."""
    for task, shots in (("gsm8k_cot", 8), ("bbh_cot_fewshot", 3), ("mmlu", 0)):
        tokens = [Tasks(tasks=[task], documents=10, shots=asked).tokens() for asked in (None, shots)]
        assert tokens[0] == pytest.approx(tokens[1]), task
    assert Tasks(tasks=["gsm8k_cot"]).tokens() == 1319 * (67 * 9 + WRITTEN * 127)


def test_a_sample_of_a_group_has_questions_of_every_task(tiny_models: Path, tmp_path: Path) -> None:
    parts = {
        f"wmdp-{name}/test": chosen(count, 0) for name, count in (("bio", 20), ("chem", 9), ("cyber", 2))
    }
    task = fetched(tmp_path, "wmdp", parts)
    subject = Subject(load_model(tiny_models / "llama"), tokenizer=load_tokenizer(tiny_models / "llama"))
    _, items = Tasks(tasks=[str(task)], documents=10).run(subject)
    assert [len(items[items["item"].between(*ends)]) for ends in ((0, 19), (20, 28), (29, 30))] == [6, 3, 1]
    again = Tasks(tasks=[str(task)], documents=10).run(subject).items
    assert again is not None and items["item"].equals(again["item"])


def test_smollm2_in_its_chat_template_equals_stock(smollm2: Path, tmp_path: Path) -> None:
    """Both questions are written at once after two examples that were read once; stock has one row at a time."""
    questions = [
        {"question": "Ann has 3 pens and buys 4. How many has she?", "answer": "#### 7"},
        {"question": "A box holds 6 eggs. How many eggs are in 5 boxes?", "answer": "#### 30"},
    ]
    task = fetched(tmp_path, "gsm8k_cot", {"main/test": questions})
    _, items = compare(smollm2, task, {"shots": 2, "chat": True, "add_bos": False}, batch=1)
    assert items["answer"].map(len).min() > 0


def test_stems_are_shared_beginnings_that_would_fill_more_than_a_tree() -> None:
    generator = random.Random(3)

    def drawn(count: int) -> list[int]:
        return [generator.randrange(50) for _ in range(count)]

    system, groups = drawn(40), [drawn(100), drawn(90)]
    sequences = [system + group + drawn(20) for group in groups for _ in range(30)]
    sequences += [drawn(30) for _ in range(40)] + [system + drawn(15) for _ in range(3)]
    generator.shuffle(sequences)
    found = stems(sequences, [2] * len(sequences), limit=400)
    assert sorted(number for stem in found for number in stem.sequences) == [*range(len(sequences))]
    for stem in found:
        length = len(stem.tokens)
        assert all(sequences[number][:length] == stem.tokens for number in stem.sequences)
        assert all(length <= len(sequences[number]) - 2 for number in stem.sequences)
    assert sorted(len(stem.tokens) for stem in found) == [0, 40, 130, 140]
    assert [stem.tokens for stem in stems(sequences, [2] * len(sequences), limit=10**6)] == [[]]
    same = stems([[1] * 50] * 9, [7] * 9, limit=45)
    assert [len(stem.tokens) for stem in same] == [43], "what is predicted stays outside"


def test_what_a_task_cannot_do_is_said_in_a_line(tiny_models: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_models / "llama")
    subject = Subject(load_model(tiny_models / "llama"), tokenizer=tokenizer)
    task = fetched(tmp_path, "wmdp", {f"wmdp-{name}/test": chosen(3, 0) for name in ("bio", "chem", "cyber")})
    bare = build_tokenizer()
    without = Subject(load_model(tiny_models / "llama"), tokenizer=bare)
    with pytest.raises(
        HfpruneError, match=r"^task 'wmdp': the model's tokenizer has no chat template; leave"
    ):
        Tasks(tasks=[str(task)], chat=True).run(without)
    source = {"provider": "local", "path": str(tmp_path / "one.jsonl")}
    (tmp_path / "one.jsonl").write_text('{"question": "how many", "answer": ["7"]}\n')
    catalogue = validate(Catalogue, {"tasks": {"nq_open": {"source": source, "format": "jsonl"}}}, "test")
    fetch_asset("tasks", "nq_open", catalogue.tasks["nq_open"], tmp_path / "nq_open", tmp_path)
    with pytest.raises(HfpruneError, match=r"^task 'nq_open': its examples are of the split 'train', which"):
        Tasks(tasks=[str(tmp_path / "nq_open")], shots=1).run(subject)
    with pytest.raises(
        HfpruneError, match=r"^task 'nq_open': its answers are generated; take the measure `tasks`"
    ):
        Zeroshot(tasks=[str(tmp_path / "nq_open")]).run(subject)
    with pytest.raises(HfpruneError, match=r"^task 'humaneval': runs the programs .* HF_ALLOW_CODE_EVAL=1"):
        (tmp_path / "humaneval").mkdir()
        for file in (tmp_path / "nq_open").iterdir():
            (tmp_path / "humaneval" / file.name).write_bytes(file.read_bytes())
        Tasks(tasks=[str(tmp_path / "humaneval")]).run(subject)


def test_lm_eval_loads_what_the_catalogue_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the hub, which gives the splits that the task asks for, and then is away."""
    splits = {"train": asked(3), "validation": asked(2, 20), "other": asked(1)}
    hub = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in splits.items()})
    monkeypatch.setattr(datasets, "load_dataset", lambda path, **named: hub)
    entry = validate(
        Catalogue, {"tasks": {"nq_open": {"source": {"provider": "lm-eval"}, "format": "lm-eval"}}}, ""
    )
    fetch_asset("tasks", "nq_open", entry.tasks["nq_open"], tmp_path / "nq_open", tmp_path)
    assert [*task_files(tmp_path / "nq_open")["nq_open"]] == ["train", "validation"]

    def away(path: str, **named: object) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(
        HfpruneError, match=r"^task 'triviaqa': lm-eval cannot load its documents \(no route to the"
    ):
        fetch_asset("tasks", "triviaqa", entry.tasks["nq_open"], tmp_path / "triviaqa", tmp_path)


@pytest.mark.parametrize(
    "given", ["gsm8k_cot,mmlu_stem", ["gsm8k_cot,mmlu_stem"], ["gsm8k_cot", "mmlu_stem"]]
)
def test_tasks_may_be_joined_by_commas_as_for_lm_eval(given: str | list[str]) -> None:
    for measure in (Tasks, Zeroshot):
        assert measure.model_validate({"tasks": given}).tasks == ["gsm8k_cot", "mmlu_stem"]
