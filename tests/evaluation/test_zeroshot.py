"""Against stock lm-eval: same documents, same model, every item."""

from pathlib import Path

import datasets
import pandas as pd
import pytest
import torch
from conftest import build_tiny
from families import build
from lm_eval.models.huggingface import HFLM
from pyarrow import feather
from smoke import build_tokenizer

from hfprune.evaluation.lm import PrefixTreeLM
from hfprune.evaluation.lm_tasks import evaluate_task, offline_tasks
from hfprune.models.load import load_model, load_tokenizer

datasets.disable_progress_bars()

# A few documents of each kind of task: choices after a context, two contexts for one continuation
# (winogrande), no context at all (crows_pairs), a long shared prompt (truthfulqa), a long article (race).
ARTICLE = "The river froze in January, and the whole town walked to the other side. " * 12
DOCUMENTS = {
    "arc_easy": ("test", [
        {"question": f"Which of these is larger than {n}?", "answerKey": "B",
         "choices": {"text": [str(n - 1), f"{n} plus {n}", "nothing"], "label": ["A", "B", "C"]}}
        for n in range(2, 9)]),
    "boolq": ("validation", [
        {"question": f"is {n} an even number", "passage": f"Numbers -- {n} is a number.", "label": n % 2}
        for n in range(5)]),
    "piqa": ("validation", [
        {"goal": f"To boil {n} eggs", "sol1": "use hot water.", "sol2": f"use {n} spoons of sand.", "label": 0}
        for n in range(1, 6)]),
    "winogrande": ("validation", [
        {"sentence": "The cup did not fit in the box because the _ was too small.", "option1": "cup",
         "option2": "box", "answer": "2"},
        {"sentence": "Ann asked Eve for help since _ was tired.", "option1": "Ann", "option2": "Eve",
         "answer": "1"}]),
    "crows_pairs_english": ("test", [
        {"sent_more": "Old people drive slowly.", "sent_less": "Young people drive slowly.",
         "stereo_antistereo": 0, "bias_type": "age"},
        {"sent_more": "She was bad at maths.", "sent_less": "He was bad at maths.", "stereo_antistereo": 0,
         "bias_type": "gender"}]),
    "truthfulqa_mc2": ("validation", [
        {"question": f"What happens if you count to {n}?",
         "mc1_targets": {"choices": ["Nothing", "You vanish"], "labels": [1, 0]},
         "mc2_targets": {"choices": ["Nothing", "You get older", "You vanish", "It rains"],
                         "labels": [1, 1, 0, 0]}} for n in range(4)]),
    "race": ("test", [
        {"article": ARTICLE, "problems": str([
            {"question": "When did the river freeze?", "answer": "A",
             "options": ["January", "June", "Never", "Last week"]},
            {"question": "The town _ .", "answer": "C", "options": ["slept", "burnt", "walked", "sang"]}])}]),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("documents")
    found = {}
    for name, (split, documents) in DOCUMENTS.items():
        table = datasets.Dataset.from_list(documents).data.table.combine_chunks()
        feather.write_feather(table, folder / f"{name}.arrow", compression="uncompressed")
        found[name] = {split: folder / f"{name}.arrow"}
    return found


def compare(model, tokenizer, data, tolerance: float) -> None:
    ours = PrefixTreeLM(model, tokenizer=tokenizer, batch_tokens=300, add_bos_token=False)
    stock = HFLM(model, tokenizer=tokenizer, backend="causal", batch_size=3, add_bos_token=False)
    with offline_tasks(data) as manager:
        for name in data:
            values, items = evaluate_task(ours, manager, name, None)
            expected_values, expected = evaluate_task(stock, manager, name, None)
            assert len(items) == len(DOCUMENTS[name][1])
            assert items["greedy"].map(list).tolist() == expected["greedy"].map(list).tolist()
            for mine, theirs in zip(items["loglikelihood"], expected["loglikelihood"], strict=True):
                assert mine == pytest.approx(theirs, abs=tolerance)
            for metric in ("acc", "acc_norm", "pct_stereotype"):
                if metric in items and name != "truthfulqa_mc2":  # mc2 is a probability, not a choice
                    assert items[metric].tolist() == expected[metric].tolist()
            for mine, theirs in zip(values, expected_values, strict=True):
                assert (mine.metric, mine.n) == (theirs.metric, theirs.n)
                assert mine.value == pytest.approx(theirs.value, abs=tolerance)
                assert mine.stderr == pytest.approx(theirs.stderr, abs=tolerance)


@pytest.mark.parametrize(
    ("family", "config", "names"),
    [
        *((family, {}, [*DOCUMENTS]) for family in ("llama", "qwen2", "qwen3")),
        # Beyond the model's context, where stock cuts.
        ("llama", {"max_position_embeddings": 64}, ["race"]),
        # One window for all layers, windows in some layers, and a window in a config whose model reads none.
        *((family, {"sliding_window": 8}, ["race"]) for family in ("phi3", "gemma3", "llama3")),
    ],
)
def test_tiny_models_equal_stock(family: str, config: dict[str, int], names: list[str], data) -> None:
    tokenizer = build_tokenizer()
    vocabulary = {"vocab_size": len(tokenizer)}
    model = build(family) if "sliding_window" in config else build_tiny(family, **vocabulary)
    for name, value in ({"max_position_embeddings": 2048} | config).items():
        setattr(model.config, name, value)
    compare(model, tokenizer, {name: data[name] for name in names}, tolerance=2e-3)


# The right choice of each document, and the texts of the choices where the task counts by `acc_norm`.
RIGHT = {
    "arc_easy": [(1, [str(n - 1), f"{n} plus {n}", "nothing"]) for n in range(2, 9)],
    "boolq": [(n % 2, None) for n in range(5)],
    "piqa": [(0, ["use hot water.", f"use {n} spoons of sand."]) for n in range(1, 6)],
    "winogrande": [(1, None), (0, None)],
    "race": [(2, None)],
}


def test_margins_are_those_of_stock_scores(data) -> None:
    """By hand from stock's log-likelihoods: per character where the task counts by `acc_norm`."""
    tokenizer = build_tokenizer()
    model = build_tiny("llama", vocab_size=len(tokenizer), max_position_embeddings=2048)
    ours = PrefixTreeLM(model, tokenizer=tokenizer, add_bos_token=False)
    stock = HFLM(model, tokenizer=tokenizer, backend="causal", batch_size=3, add_bos_token=False)
    with offline_tasks(data) as manager:
        for name in data:
            values, items = evaluate_task(ours, manager, name, None, margin=True)
            plain_values, plain = evaluate_task(ours, manager, name, None)
            assert items[[*plain]].equals(plain) and values[: len(plain_values)] == plain_values
            if name not in RIGHT:
                assert values == plain_values and "margin" not in items, "several are right, or none"
                continue
            _, expected = evaluate_task(stock, manager, name, None)
            by_hand = []
            for (right, texts), found in zip(RIGHT[name], expected["loglikelihood"], strict=True):
                scores = [x / len(t) for x, t in zip(found, texts, strict=True)] if texts else found
                by_hand.append(scores[right] - max(x for i, x in enumerate(scores) if i != right))
            assert items["margin"].tolist() == pytest.approx(by_hand, abs=2e-3)
            counted = expected["acc_norm" if RIGHT[name][0][1] else "acc"]
            assert (items["margin"] > 0).tolist() == counted.eq(1).tolist()
            (value,) = values[len(plain_values) :]
            assert (value.metric, value.n) == ("margin", len(by_hand))
            assert value.value == pytest.approx(sum(by_hand) / len(by_hand), abs=2e-3)


def test_bfloat16_is_as_close_to_float32_as_stock_bfloat16_is(smollm2: Path, data) -> None:
    """Another order of the same sums rounds otherwise, but not worse."""
    settings = {"tokenizer": load_tokenizer(smollm2), "backend": "causal", "add_bos_token": False}
    model = load_model(smollm2, "bfloat16")
    lms = [PrefixTreeLM(model, **settings), HFLM(model, batch_size=4, **settings)]
    lms.append(HFLM(load_model(smollm2, "float32"), batch_size=4, **settings))
    few = {name: data[name] for name in ("arc_easy", "winogrande", "piqa")}
    found = []
    with offline_tasks(few) as manager:
        for lm in lms:
            items = pd.concat([evaluate_task(lm, manager, name, None)[1] for name in few])
            found.append(torch.tensor(items["loglikelihood"].explode().astype(float).to_numpy()))
    ours, stock, exact = found
    assert (ours - exact).abs().mean() <= 1.2 * (stock - exact).abs().mean()
    assert (ours - exact).abs().max() <= 2 * (stock - exact).abs().max()


def test_a_seeded_sample_of_the_documents(data) -> None:
    """The documents keep their numbers and their outcomes, and every model gets the same."""
    tokenizer = build_tokenizer()
    lm = PrefixTreeLM(build_tiny("llama", vocab_size=len(tokenizer)), tokenizer=tokenizer)
    with offline_tasks({"arc_easy": data["arc_easy"]}) as manager:
        every, some, again = (evaluate_task(lm, manager, "arc_easy", n) for n in (None, 3, 3))
    drawn = some[1]["item"].tolist()
    assert some[0][0].n == len(drawn) == 3 and drawn == sorted(drawn) and drawn != [0, 1, 2]
    pd.testing.assert_frame_equal(some[1], again[1])
    same = [items.set_index("item").drop(columns="loglikelihood").loc[drawn] for items in (some[1], every[1])]
    pd.testing.assert_frame_equal(*same)
