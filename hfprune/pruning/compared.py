"""What `hfprune prune` measures of a pruned model and its dense one."""

from typing import Any

# What the comparison reads: enough to see what was lost, in minutes on two cores.
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
    "documents": 4,
    "max_tokens": 1024,
}
TURNS = {"prompt_tokens": 128, "batch": 1, "new_tokens": 16, "repeats": 5}
MEASURED: dict[str, dict[str, Any]] = {
    "perplexity": HELDOUT,
    "fidelity": HELDOUT,
    "gold_bpb": CAPABILITIES,
    "latency": TURNS,
}
