"""A pruned model beside its dense model."""

from hfprune.analysis.before_after import compare


def result(method: str, measure: str, **values: float) -> dict:
    return {
        "cell": {"method": method, "recovery": "none"},
        "measure": measure,
        "task": "" if measure == "latency" else "text",
        "values": [
            {"metric": name, "value": value, "stderr": None, "n": 3} for name, value in values.items()
        ],
        "provenance": {"settings": {"prompt_tokens": 64} if measure == "latency" else {}},
    }


def test_numbers_stand_beside_those_of_the_dense_model() -> None:
    speeds = {
        "prefill_seconds": 0.5,
        "prefill_speedup": 1.5,
        "decode_tokens_per_second": 30,
        "decode_speedup": 1.25,
    }
    results = [
        result("pruned", "perplexity", perplexity=30),
        result("dense", "perplexity", perplexity=20),
        result("pruned", "fidelity", js_distance=0.25, kl_divergence=1),
        result("pruned", "latency", **speeds),
    ]
    rows = [row.words() for row in compare(results, (1000, 800), (4000, 3200))]
    assert rows == [
        ["perplexity on text", "20.00", "30.00", "+50.0%"],
        ["JS distance to the dense model on text", "", "0.250", ""],
        ["parameters", "1,000", "800", "-20.0%"],
        ["file size of the weights, MB", "0.0", "0.0", "-20.0%"],
        ["prefill of 64 tokens, ms", "750.0", "500.0", "-33.3%"],
        ["decoding, tokens a second", "24.0", "30.0", "+25.0%"],
    ]


def test_a_size_that_pruning_alone_does_not_explain_says_so() -> None:
    (_, size) = compare([], (1000, 800), (4000, 1600))
    assert size.name == "file size of the weights, MB (4.0 → 2.0 bytes a parameter)"
