"""Against a plain forward pass, one request at a time."""

from collections.abc import Callable
from functools import partial
from math import log
from pathlib import Path

import pandas as pd
import pytest
import torch
from assets.local import shipped_catalogue
from conftest import build_tiny
from smoke import TEXT, build_tokenizer, write_requests

from hfprune.assets.resolving import resolve
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import MEASURES
from hfprune.measures.gold_bpb import GROUPS, GoldBpb

SHOT = "Question: where is the mill?\nAnswer: in the valley\n\n"
REQUESTS = {
    "facts": [
        (f"{SHOT}Question: how many houses has the harbour in {n}?\nAnswer:", f" {n * 7}") for n in range(9)
    ],
    "words": [(f"{SHOT}The café of the {n} towns is called", f" «Zürich {n} 日本»") for n in range(7)],
    "long": [(text * (1 + 5 * (n % 2)), " every day") for n, text in enumerate(TEXT[:8])],
    "bare": [("", " In the year"), ("Trailing ", "space")],
}


def in_folder(resources: Path) -> Callable[[str, str], Path]:
    return partial(resolve, resources=resources)


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resources")
    for name, requests in REQUESTS.items():
        write_requests(folder / "requests" / name, requests)
    return folder


@pytest.fixture(scope="module")
def subject(resources: Path) -> Subject:
    tokenizer = build_tokenizer()
    model = build_tiny("llama", vocab_size=len(tokenizer), max_position_embeddings=1024)
    return Subject(model, tokenizer=tokenizer, find=in_folder(resources))


def naive_bpb(model, tokenizer, context: str, continuation: str, add_bos: bool) -> float:
    """Bits per byte from one plain forward pass over the whole text."""
    whole = tokenizer(context + continuation, add_special_tokens=add_bos)["input_ids"]
    prefix = len(tokenizer(context.rstrip(), add_special_tokens=add_bos)["input_ids"])
    if not context:
        own = tokenizer(continuation, add_special_tokens=False)["input_ids"]
        whole, prefix = [tokenizer.bos_token_id, *own], 1
    with torch.no_grad():
        log_p = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    nats = sum(float(log_p[i - 1, whole[i]]) for i in range(prefix, len(whole)))
    return -nats / log(2) / len(continuation.encode("utf-8"))


def check(found: pd.DataFrame, model, tokenizer, add_bos: bool) -> None:
    for row in found.itertuples():
        number = int(row.document.removeprefix(f"{row.source}/"))
        expected = naive_bpb(model, tokenizer, *REQUESTS[row.source][number], add_bos)
        assert row.bpb == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("add_bos", [True, False])
def test_equals_a_plain_forward_pass(subject: Subject, resources: Path, add_bos: bool) -> None:
    measure = GoldBpb(groups={"a": ["facts", "words"], "b": ["bare"]}, batch_tokens=300, add_bos=add_bos)
    fresh = Subject(subject.model, tokenizer=subject.tokenizer, find=in_folder(resources))
    assert [*measure.by_task()] == ["a", "b"]
    assert measure.assets() == ["requests/facts", "requests/words", "requests/bare"]
    for group, count in (("a", 14), ("b", 2)):
        (value,), items = measure.by_task()[group].run(fresh)
        assert (value.metric, value.n, len(items)) == ("bpb", count, count)
        check(items, subject.model, subject.tokenizer, add_bos)
        assert value.value == pytest.approx(items["bpb"].mean())
        assert items["document"].is_unique


def test_tasks_count_equally_with_an_error_by_task(subject: Subject) -> None:
    (value,), items = GoldBpb(groups={"a": ["facts", "words"]}).run(subject)
    facts, words = (items[items["source"] == name]["bpb"] for name in ("facts", "words"))
    assert len(facts) == len(words) == 7
    assert value.value == pytest.approx((facts.mean() + words.mean()) / 2)
    assert value.stderr == pytest.approx((facts.var() / 7 + words.var() / 7) ** 0.5 / 2)
    (single,), _ = GoldBpb(groups={"a": ["facts", "words"]}, documents=1).run(subject)
    assert single.stderr is None


def test_the_sample_is_seeded_and_the_same_for_every_model(subject: Subject, resources: Path) -> None:
    def sample(group: str, model=subject.model, documents: int = 3) -> list[str]:
        measure = GoldBpb(groups={"a": ["facts"], "b": ["facts", "words"]}, documents=documents)
        own = Subject(model, tokenizer=subject.tokenizer, find=in_folder(resources))
        return measure.by_task()[group].run(own).items["document"].tolist()

    first = sample("a")
    assert first != ["facts/0", "facts/1", "facts/2"], "not simply the first"
    other = build_tiny("qwen3", vocab_size=len(subject.tokenizer), max_position_embeddings=1024)
    assert first == sample("a", other) == sample("b")[:3] == sample("a", documents=5)[:3]


def test_documents_that_are_too_long_are_left_out_before_sampling(subject: Subject, resources: Path) -> None:
    lengths = [len(subject.tokenizer("".join(texts))["input_ids"]) for texts in REQUESTS["long"]]
    cap = sorted(lengths)[3]
    assert sorted(lengths)[4] > cap
    short = [f"long/{number}" for number, length in enumerate(lengths) if length <= cap]
    small = build_tiny("llama", vocab_size=len(subject.tokenizer), max_position_embeddings=300)
    for model, limits in ((subject.model, {"max_tokens": cap}), (small, {})):  # or the model's own context
        own = Subject(model, tokenizer=subject.tokenizer, find=in_folder(resources))
        (bpb, left_out), items = GoldBpb(groups={"a": ["long"]}, **limits).run(own)
        assert sorted(items["document"]) == short and bpb.n == 4
        assert (left_out.metric, left_out.value, left_out.n) == ("left_out", 0.5, 8)
        check(items, model, subject.tokenizer, True)
    message = r"'long': all 8 documents have more than 20 tokens; raise max_tokens"
    with pytest.raises(HfpruneError, match=message):
        GoldBpb(groups={"a": ["long"]}, max_tokens=20).run(subject)


def test_default_groups_are_in_the_catalogue() -> None:
    known = shipped_catalogue().requests.keys()
    assert {name for group in GROUPS.values() for name in group} == known
    assert MEASURES.load("gold_bpb") is GoldBpb
    with pytest.raises(HfpruneError, match=r"measures.x: gold_bpb: unknown key 'document'; did you"):
        MEASURES.make("gold_bpb", {"document": 3}, "measures.x")
