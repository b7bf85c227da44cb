"""A pruned model beside its dense model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from hfprune.analysis.before_after import Row, compare, verdict

SPEEDS = {
    "prefill_seconds": 0.5,
    "prefill_speedup": 1.5,
    "decode_tokens_per_second": 30,
    "decode_speedup": 1.25,
}


def result(method: str, measure: str, task: str = "text", **values: float) -> dict:
    return {
        "cell": {"method": method, "recovery": "none"},
        "measure": measure,
        "task": "" if measure == "latency" else task,
        "values": [
            {"metric": name, "value": value, "stderr": None, "n": 3} for name, value in values.items()
        ],
        "provenance": {"settings": {"prompt_tokens": 64} if measure == "latency" else {}},
    }


def files(*results: dict) -> dict[Path, dict]:
    return {Path(f"nowhere/{number}.json"): each for number, each in enumerate(results)}


def compared(results: dict[Path, dict]) -> list[Row]:
    return compare(results, (10, 8), (40, 32))


def test_numbers_stand_beside_those_of_the_dense_model() -> None:
    results = files(
        result("pruned", "perplexity", perplexity=30),
        result("dense", "perplexity", perplexity=20),
        result("pruned", "fidelity", js_distance=0.25, kl_divergence=1),
        result("pruned", "latency", **SPEEDS),
    )
    rows = [row.words() for row in compare(results, (1000, 800), (4000, 3200))]
    assert rows == [
        ["perplexity on text", "20.00", "30.00", "+50.0%"],
        ["JS distance to the dense model on text", "", "0.250", "+0.250"],
        ["parameters", "1,000", "800", "-20.0%"],
        ["file size of the weights, MB", "0.0", "0.0", "-20.0%"],
        ["prefill of 64 tokens, ms", "750.0", "500.0", "-33.3%"],
        ["decoding, tokens a second", "24.0", "30.0", "+25.0%"],
    ]
    (_, size) = compare({}, (1000, 800), (4000, 1600))
    assert size.name == "file size of the weights, MB (4.0 → 2.0 bytes a parameter)", (
        "pruning alone does less"
    )


def measured(folder: Path, method: str, measure: str, items: pd.DataFrame, task: str, **values: float):
    path = folder / f"{method}-{measure}-{task}.json"
    items.to_parquet(path.with_suffix(".parquet"))
    return {path: result(method, measure, task, **values)}


def perplexities(folder: Path, before: np.ndarray, after: np.ndarray) -> dict[Path, dict]:
    found: dict[Path, dict] = {}
    for method, nll in (("dense", before), ("pruned", after)):
        items = pd.DataFrame({"item": range(len(nll)), "document": range(len(nll)), "nll": nll})
        found |= measured(folder, method, "perplexity", items, "text", perplexity=float(np.exp(nll.mean())))
    return found


def test_the_change_has_its_interval_in_pairs(tmp_path: Path) -> None:
    """Documents differ by far more than the change, which pairs do not see. The reference is a paired t-test."""
    rng = np.random.default_rng(1)
    before, change = 3 + rng.normal(size=16), 0.4 + 0.05 * rng.normal(size=16)
    change -= (change - change.mean()) ** 3  # nearly symmetric, so that the correction for skewness is small
    found = perplexities(tmp_path, before, before + change)
    (row, *_) = compared(found)
    half = t.ppf(0.975, 15) * change.std(ddof=1) / 4
    ends = np.exp(change.mean() + np.array([-half, half])) - 1
    assert row.change == pytest.approx(np.exp(change.mean()) - 1)
    assert [row.low, row.high] == pytest.approx(ends, abs=0.01)
    assert row.words()[3] == f"{row.change:+.1%} [{row.low:+.1%}, {row.high:+.1%}]"
    # Of one side alone, the interval is many times as wide.
    assert row.high - row.low < 0.2 * 2 * t.ppf(0.975, 15) * before.std(ddof=1) / 4

    path = tmp_path / "dense-perplexity-text.parquet"
    items = pd.read_parquet(path)
    items[::-1].to_parquet(path)
    assert compared(found)[0] == row, "documents are paired by name"
    items.loc[0, "nll"] = np.nan
    items.to_parquet(path)
    assert compared(found)[0] == replace(row, low=None, high=None), "one without a number leaves no interval"


def test_capabilities_are_stratified_by_task_and_few_documents_have_no_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    found: dict[Path, dict] = {}
    changes = {}
    for group, count in (("many", 8), ("few", 3)):
        source = np.repeat(["a", "b"], count)
        before = 1 + rng.random(2 * count)
        changes[group] = np.where(source == "a", 1.0, 3.0) + 0.1 * rng.normal(size=2 * count)
        for method, bpb in (("dense", before), ("pruned", before + changes[group])):
            items = pd.DataFrame({"item": range(2 * count), "source": source, "bpb": bpb})
            items["document"] = [f"{name}/{n}" for n, name in enumerate(source)]
            found |= measured(tmp_path, method, "gold_bpb", items, group, bpb=float(bpb.mean()))
    many, few, *_ = compared(found)
    assert (many.name, few.name) == ("bits per byte, many", "bits per byte, few")
    assert many.change == pytest.approx(changes["many"].mean())
    assert few.low is None
    assert "[" not in few.words()[3]
    # Tasks differ by 2, within a task by 0.1: unstratified it would be ± 0.5.
    assert 0 < many.high - many.low < 0.2


def test_a_speed_whose_repeats_disagree_has_no_percentage(tmp_path: Path) -> None:
    items = pd.DataFrame(
        {"item": range(3), "prefill_speedup": [1.4, 0.9, 1.6], "decode_speedup": [1.2, 1.3, 1.25]}
    )
    *_, prefill, decode = compared(measured(tmp_path, "pruned", "latency", items, "", **SPEEDS))
    assert prefill.words()[3] == "repeats disagree"
    assert decode.words()[3] == "+25.0%"


@pytest.mark.parametrize(
    ("factor", "dense", "spread", "said"),
    [
        (1.02, 20, 0.01, "can be used as it is"),
        (1.5, 20, 0.01, "something was lost"),
        (3, 20, 0.01, "cannot be used without recovery"),
        (1.02, 20, 2, "do not tell how much was lost"),
        (1.02, 5e7, 0.01, "Warning: the dense model itself is broken"),
        (1.02, 300, 0.01, "Warning"),  # of 400 tokens
    ],
)
def test_the_verdict(factor: float, dense: float, spread: float, said: str, tmp_path: Path) -> None:
    before = np.log(dense) + 0.5 * np.sin(np.arange(16.0))
    after = before + np.log(factor) + spread * np.cos(np.arange(16.0))
    rows = compared(perplexities(tmp_path, before, after))
    assert (rows[0].low < 0 < rows[0].high) == (spread > 1)
    sentences = verdict(rows, 400, repaired=False)
    assert said in " ".join(sentences)
    assert ("Warning" in " ".join(sentences)) == (dense > 20)
    assert "Warning" not in sentences[0] or "used" not in " ".join(sentences), "it says nothing of pruning"
    assert verdict(compared({}), 400, repaired=False) == []
