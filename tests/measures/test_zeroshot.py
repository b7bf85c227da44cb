"""The measure against stock lm-eval that loads the same folder: BOS where the tokenizer adds one or not."""

from pathlib import Path

import pytest
from conftest import build_tiny
from lm_eval.models.huggingface import HFLM
from pyarrow import Table
from smoke import TASKS, build_tokenizer
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from hfprune.assets.formats import write_arrow
from hfprune.evaluation.lm_tasks import evaluate_task, offline_tasks
from hfprune.evaluation.measured_model import Subject
from hfprune.files import write_json
from hfprune.measures.zeroshot import Zeroshot
from hfprune.models.load import load_model, load_tokenizer


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer that adds BOS by default, one that has a BOS and does not add it, or one without."""
    ready = build_tokenizer()
    if kind == "added":
        return ready
    bare = Tokenizer.from_str(ready.backend_tokenizer.to_str())
    bare.post_processor = processors.ByteLevel()
    names = {"eos_token": "</s>"} | ({"bos_token": "<s>"} if kind == "not added" else {})
    return PreTrainedTokenizerFast(tokenizer_object=bare, **names)


@pytest.mark.parametrize("add_bos", [True, False])
@pytest.mark.parametrize("kind", ["added", "not added", "none"])
def test_bos_is_as_in_stock(kind: str, add_bos: bool, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(kind)
    build_tiny("llama", vocab_size=len(tokenizer)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    task = tmp_path / "tasks/arc_easy"
    task.mkdir(parents=True)
    write_arrow(task / "test.arrow", Table.from_pylist(TASKS["arc_easy"]))
    write_json(task / "asset.json", {"split": "test"})
    subject = Subject(load_model(tmp_path / "model"), tokenizer=load_tokenizer(tmp_path / "model"))
    (measure,) = Zeroshot(tasks=[str(task)], add_bos=add_bos).by_task().values()
    values, items = measure.run(subject)

    stock = HFLM(str(tmp_path / "model"), device="cpu", backend="causal", add_bos_token=add_bos)
    with offline_tasks({"arc_easy": {"test": task / "test.arrow"}}) as manager:
        expected_values, expected = evaluate_task(stock, manager, "arc_easy", None)
    for mine, theirs in zip(items["loglikelihood"], expected["loglikelihood"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
    assert [value.value for value in values] == pytest.approx([value.value for value in expected_values])
