"""What `hfprune prune` measures of a pruned model and its dense one, and what it finds."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hfprune.analysis.before_after import compare, verdict, weight_bytes
from hfprune.assets.requests import read_requests
from hfprune.errors import missing
from hfprune.exports.checkpoint import write_card
from hfprune.exports.export_folder import PROVENANCE
from hfprune.files import read_json
from hfprune.models.load import load_skeleton, load_tokenizer
from hfprune.models.units import count_parameters
from hfprune.page.pruned import PrunedOutcome
from hfprune.pruning.config import Pruning
from hfprune.pruning.folder import MODEL
from hfprune.pruning.recipe import PruningRecipe
from hfprune.results import read_result
from hfprune.stages import Stage

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


def lacking() -> str:
    """Return how to install what right answers need, or "" where it is; all else is worth having without."""
    return "" if find_spec("lm_eval") else missing(ModuleNotFoundError(name="lm_eval"))


def read_later(asked: Pruning) -> list[str]:
    """Return the assets that the comparison reads, as `kind/name`."""
    found = [f"corpora/{HELDOUT['corpus']}"] if asked.compare or asked.max_loss else []
    if asked.compare and not asked.quick and not lacking():
        found += [f"requests/{name}" for group in CAPABILITIES["groups"].values() for name in group]
    return found


def fitting(asked: Pruning, model: Path) -> dict[str, dict[str, Any]]:
    """Return what is measured, with the capabilities whose tasks have documents that fit the model's context.

    Those that are left out are named. All assets must be fetched.
    """
    if not asked.compare or asked.quick:
        return QUICK if asked.compare else {}
    if lacking():
        return MEASURED
    tokenizer = load_tokenizer(model)
    context = read_json(model / "config.json").get("max_position_embeddings") or CAPABILITIES["max_tokens"]
    limit = min(context, CAPABILITIES["max_tokens"])

    def fits(source: str) -> bool:
        table = read_requests(asked.resources / "requests" / source)
        rows = table.select(["context", "continuation"]).to_pylist()
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
    return MEASURED | ({"gold_bpb": CAPABILITIES | {"groups": found, "add_bos": bos}} if found else {})


def outcome(asked: Pruning, recipe: PruningRecipe, model: Path, jobs: dict[str, Stage]) -> PrunedOutcome:
    """Return the comparison in rows and sentences, and write it into the model's card."""
    out, dense = asked.out / MODEL, load_skeleton(model)
    written = [file for job in jobs.values() if job.stage == "measure" for file in job.outputs()]
    files = [file for file in written if file.suffix == ".json"]
    sizes = count_parameters(dense), read_json(out / PROVENANCE)["parameters"]
    weights = weight_bytes(model), weight_bytes(out)
    rows = compare({file: read_result(file) for file in files}, sizes, weights)
    said = verdict(rows, dense.config.vocab_size, recipe.linear or bool(asked.recover))
    source = model / "asset.json"
    if source.is_file() and read_json(source).get("entry", {}).get("format") == "gguf":
        said.append(
            f"The dense model came as a GGUF file, perhaps quantised; this export has {weights[1] / 1e6:,.0f} MB, "
            "each weight in full. llama.cpp's own converter makes it small again (docs/exports.md)."
        )
    if not files:
        return PrunedOutcome(rows, said, {})
    words = read_json(jobs["sample"].outputs()[0])
    write_card(out, model, files, words)
    return PrunedOutcome(rows, said, words)
