"""What `hfprune prune` measures of a pruned model and its dense one."""

import sys
from pathlib import Path
from typing import Any

from hfprune.assets.requests import read_requests
from hfprune.files import read_json
from hfprune.models.load import load_tokenizer

# What the comparison reads: enough for intervals, in minutes on two cores.
HELDOUT = {"corpus": "c4-sample-heldout", "sequences": 16, "length": 256}
CAPABILITIES: dict[str, Any] = {
    "groups": {
        "knowledge": ["naturalqs_open", "jeopardy"],
        "reading": ["boolq"],
        "mathematics": ["gsm8k"],
        "code": ["codex_humaneval"],
        "language": ["lambada"],
        "science": ["arc_easy", "arc_challenge", "openbookqa"],
        "common_sense": ["csqa", "piqa", "socialiqa", "winogrande"],
    },
    "documents": 8,
    "max_tokens": 2048,
}
TURNS = {"prompt_tokens": 128, "batch": 1, "new_tokens": 16, "repeats": 5}
MEASURED: dict[str, dict[str, Any]] = {"perplexity": HELDOUT, "fidelity": HELDOUT, "latency": TURNS}
# A quick comparison: the fewest documents that give an interval, and neither capabilities nor speed.
QUICK = {name: HELDOUT | {"sequences": 24, "length": 128} for name in ("perplexity", "fidelity")}


def fitting(resources: Path, model: Path) -> dict[str, dict[str, Any]]:
    """Return the measure of the capabilities whose tasks have documents that fit the model's context, if any do.

    Those that are left out are named.

    Args:
        resources: folder of the fetched assets.
        model: folder of the dense model.
    """
    tokenizer = load_tokenizer(model)
    context = read_json(model / "config.json").get("max_position_embeddings") or CAPABILITIES["max_tokens"]
    limit = min(context, CAPABILITIES["max_tokens"])

    def fits(source: str) -> bool:
        rows = read_requests(resources / "requests" / source).select(["context", "continuation"]).to_pylist()
        shortest = sorted((row["context"] + row["continuation"] for row in rows), key=len)
        return any(
            len(tokenizer(text)["input_ids"]) < limit for text in shortest[: CAPABILITIES["documents"]]
        )

    found = {}
    for group, sources in CAPABILITIES["groups"].items():
        if long := [source for source in sources if not fits(source)]:
            print(f"{group} is left out: {long[0]} has no document within {limit} tokens", file=sys.stderr)
        else:
            found[group] = sources
    # As the model was trained: BOS where its tokenizer adds it.
    bos = (tokenizer("a")["input_ids"] or [None])[0] == tokenizer.bos_token_id is not None
    return {"gold_bpb": CAPABILITIES | {"groups": found, "add_bos": bos}} if found else {}
