"""Against stock lm-eval called directly, on a task of the user's own."""

import json
from pathlib import Path

import datasets
import pytest
from assets.local import fetch_local
from conftest import build_tiny
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from smoke import TEXT, build_tokenizer, write_generation

from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import MEASURES
from hfprune.measures.generation import Generation

datasets.disable_progress_bars()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tasks whose answers are partly what the model says."""
    model, tokenizer = build_tiny("llama", vocab_size=400), build_tokenizer()
    questions = [text[:40] for text in TEXT[:6]]
    lm = HFLM(model, tokenizer=tokenizer, backend="causal", batch_size=1, add_bos_token=True)
    from lm_eval.api.instance import Instance

    wanted = {"until": ["\n"], "do_sample": False, "max_gen_toks": 6}
    said = lm.generate_until(
        [Instance("generate_until", {}, (f"{question}\nAnswer:", wanted), 0) for question in questions], True
    )
    for split, start in (("train", 3), ("test", 0)):
        rows = [
            {"question": question, "answer": answer if n % 2 == 0 else "no"}
            for n, (question, answer) in enumerate(zip(questions, said, strict=True))
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows[start:] + rows[:start])))
    write_generation(tmp_path, "local_qa")
    filters = [
        {
            "name": name,
            "filter": [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}],
        }
        for name, pattern in (("strict-match", "^(.*)$"), ("first-letter", "(.)"))
    ]
    write_generation(tmp_path, "filtered_qa", filter_list=filters)
    chosen = {"output_type": "multiple_choice", "doc_to_choice": ["yes", "no"], "doc_to_target": 1}
    write_generation(tmp_path, "choices", **chosen, metric_list=[{"metric": "acc"}], generation_kwargs=None)
    return tmp_path


@pytest.fixture
def subject() -> Subject:
    return Subject(build_tiny("llama", vocab_size=400), tokenizer=build_tokenizer())


def stock(subject: Subject, folder: Path, name: str, shots: int, **options):
    lm = HFLM(subject.model, tokenizer=subject.tokenizer, backend="causal", batch_size=2, add_bos_token=True)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(
        model=lm, tasks=[name], task_manager=manager, num_fewshot=shots, log_samples=True, **options
    )


@pytest.mark.parametrize("shots", [0, 2])
def test_a_local_task_equals_stock_lm_eval(subject: Subject, folder: Path, shots: int) -> None:
    measure = Generation(tasks=["local_qa"], data=str(folder), shots=shots, batch_size=2)
    assert ([*measure.by_task()], measure.assets()) == (["local_qa"], [])
    (value,), items = measure.run(subject)
    expected = stock(subject, folder, "local_qa", shots)
    assert value.metric == "exact_match" and value.n == 6
    assert value.value == expected["results"]["local_qa"]["exact_match,none"]
    assert value.stderr == expected["results"]["local_qa"]["exact_match_stderr,none"]
    samples = expected["samples"]["local_qa"]
    assert items["response"].tolist() == [sample["resps"][0][0] for sample in samples]
    assert items["exact_match"].tolist() == [sample["exact_match"] for sample in samples]
    if not shots:
        assert 0 < value.value < 1, "answers that are right and answers that are wrong"


def test_filters_sample_and_length_of_answers(subject: Subject, folder: Path) -> None:
    measure = Generation(tasks=["filtered_qa"], data=str(folder), documents=3, max_new_tokens=2)
    values, items = measure.run(subject)
    drawn = items["item"].tolist()
    assert len(set(drawn)) == 3 and set(drawn) < set(range(6)) and drawn != [0, 1, 2]
    samples = {"samples": {"filtered_qa": drawn}, "gen_kwargs": {"max_gen_toks": 2}}
    expected = stock(subject, folder, "filtered_qa", 0, **samples)
    for value, name in zip(values, ("strict-match", "first-letter"), strict=True):
        assert value.metric == f"exact_match_{name.replace('-', '_')}"
        assert (value.value, value.n) == (expected["results"]["filtered_qa"][f"exact_match,{name}"], 3)
        assert items[value.metric].mean() == value.value
    assert items["response"].tolist() == [
        sample["resps"][0][0]
        for sample in expected["samples"]["filtered_qa"]
        if sample["filter"] == "strict-match"
    ]


def test_a_task_of_the_catalogue(subject: Subject, tmp_path: Path) -> None:
    rows = [
        {"question": f"Ann has {n} eggs and buys 2.", "answer": f"Now {n + 2}.\n#### {n + 2}"}
        for n in range(3)
    ]
    (tmp_path / "gsm8k.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fetch_local("tasks", "gsm8k", tmp_path / "gsm8k.jsonl", tmp_path / "tasks/gsm8k", format="jsonl", rows=3)
    measure = Generation(tasks=["gsm8k"], max_new_tokens=3)
    assert measure.assets() == ["tasks/gsm8k"]
    here = Subject(subject.model, tokenizer=subject.tokenizer, resources=tmp_path)
    values, items = measure.run(here)
    assert [value.metric for value in values] == ["exact_match_strict_match", "exact_match_flexible_extract"]
    assert {value.metric for value in values} <= {metric.name for metric in measure.metrics()}
    assert items["target"].tolist() == [row["answer"] for row in rows]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("local_q", "no YAML defines the task 'local_q'; did you mean 'local_qa'"),
        (
            "choices",
            "task 'choices': is of type multiple_choice, not generate_until; use the measure zeroshot",
        ),
    ],
)
def test_tasks_that_cannot_be_say_so_in_one_line(
    subject: Subject, folder: Path, name: str, message: str
) -> None:
    with pytest.raises(HfpruneError, match=message) as error:
        Generation(tasks=[name], data=str(folder)).run(subject)
    assert "\n" not in str(error.value)


def test_data_that_is_not_here_says_how_to_get_it(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_generation(tmp_path, "gone", dataset_path=str(tmp_path / "nothing"), dataset_kwargs=None)
    with pytest.raises(HfpruneError, match="lm_eval --model dummy --tasks gone --limit 1"):
        Generation(tasks=["gone"], data=str(tmp_path)).run(subject)
    with pytest.raises(
        HfpruneError, match=r"measures.g: shots: 5 examples need a split that fetched tasks lack"
    ):
        MEASURES.make("generation", {"tasks": ["gsm8k"], "shots": 5}, "measures.g")
