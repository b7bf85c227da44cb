"""What `hfprune prune` measures of a pruned model and its dense one, and what it finds."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hfprune.assets.corpora import read_corpus
from hfprune.assets.requests import read_requests
from hfprune.cells import read_result
from hfprune.comparison.before_after import (
    ASKED,
    OWN,
    BeforeAfter,
    Sides,
    read_sides,
    rows_of,
    timed_on,
    weight_bytes,
)
from hfprune.comparison.usability import conclusions
from hfprune.errors import missing
from hfprune.exports.checkpoint import write_card
from hfprune.exports.export_folder import PROVENANCE
from hfprune.files import read_json
from hfprune.measurement import MEASURES, TextMeasure
from hfprune.measures.gold_bpb import SHORT
from hfprune.models.load import load_skeleton, load_tokenizer
from hfprune.models.units import count_parameters
from hfprune.pruning.config import Pruning
from hfprune.pruning.folder import MODEL
from hfprune.pruning.recipe import PruningRecipe
from hfprune.recovery.packing import load_packed
from hfprune.settings.recovery import RECOVERED
from hfprune.stages import Stage

# What every comparison reads, so that a row means the same in each: of 33 documents, those that are long enough.
HELDOUT: dict[str, Any] = {"corpus": "c4-sample-heldout", "sequences": 32, "length": 128}
# Of a text of the user's: a crop of each document, or joined ones where too few are long enough.
OWN_TEXT: dict[str, Any] = {"sequences": 256, "length": 128}
LONG, ENOUGH = 800, 16  # characters that surely have so many tokens; documents
QUESTIONS = 50
# By what --max-loss judges: short crops of many documents, which show a loss in seconds.
LIMIT = f"{ASKED}perplexity"
CROPS: dict[str, Any] = {
    "measure": "perplexity",
    "corpus": "wikipedia-sample",
    "sequences": 64,
    "length": 128,
}
CAPABILITIES: dict[str, Any] = {
    "groups": SHORT,
    "documents": 8,
    "max_tokens": 2048,
}
# An interval needs eight repeats or more.
TURNS = {"prompt_tokens": 128, "batch": 1, "new_tokens": 16, "repeats": 12}


def lacking() -> str:
    """Return how to install what right answers need, or "" where it is; all else is worth having without."""
    return "" if find_spec("lm_eval") else missing(ModuleNotFoundError(name="lm_eval"))


def read_later(asked: Pruning) -> list[str]:
    """Return the assets that the comparison reads, as `kind/name`, but those that are spelt in the call."""
    found = [f"corpora/{HELDOUT['corpus']}"] if asked.compare else []
    # Other text than the comparison's, whose intervals would else know nothing of the choice.
    found += ["corpora/wikipedia-sample"] if asked.max_loss else []
    if asked.compare and not asked.quick and not lacking():
        found += [f"requests/{name}" for group in CAPABILITIES["groups"].values() for name in group]
    return found


def _of_texts() -> list[str]:
    """Return the measures of text, each of which is compared: a new one of them appears by being there."""
    known = {name: MEASURES.load(name) for name in MEASURES.sources()}
    return [
        name
        for name, measure in known.items()
        if issubclass(measure, TextMeasure) and measure.needs in ("model", "beside")
    ]


def fitting(asked: Pruning, folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Return what is measured, with the capabilities whose tasks have documents that fit the model's context.

    Those that are left out are named. All assets must be fetched; `folders` are theirs, by kind and name.
    """
    if not asked.compare:
        return {}
    of_texts = _of_texts()
    model, found = folders["models"], dict[str, dict[str, Any]](dict.fromkeys(of_texts, HELDOUT))
    found |= {LIMIT: CROPS} if asked.max_loss else {}
    found |= {} if asked.quick else {"latency": TURNS}
    for asset, folder in folders.items():
        if asset.startswith("corpora/"):
            long_ones = sum(len(text) > LONG for text in read_corpus(folder))
            own = OWN_TEXT | {"sampling": "crop" if long_ones >= ENOUGH else "pack"}
            own |= {"corpus": asset.removeprefix("corpora/")}
            found |= {f"{OWN}{name}": own | {"measure": name} for name in of_texts}
    tokenizer = load_tokenizer(model)
    # As the model was trained: BOS where its tokenizer adds it.
    bos = (tokenizer("a")["input_ids"] or [None])[0] == tokenizer.bos_token_id is not None
    if tasks := [asset.removeprefix("tasks/") for asset in folders if asset.startswith("tasks/")]:
        found["tasks"] = {"tasks": tasks, "documents": QUESTIONS, "add_bos": bos}
    if asked.quick or lacking():
        return found
    context = read_json(model / "config.json").get("max_position_embeddings") or CAPABILITIES["max_tokens"]
    limit = min(context, CAPABILITIES["max_tokens"])

    def fits(source: str) -> bool:
        rows = read_requests(asked.resources / "requests" / source).to_pylist()
        shortest = sorted((row["context"] + row["continuation"] for row in rows), key=len)
        return any(
            len(tokenizer(text)["input_ids"]) < limit for text in shortest[: CAPABILITIES["documents"]]
        )

    groups = {}
    for group, sources in CAPABILITIES["groups"].items():
        if long := [source for source in sources if not fits(source)]:
            print(f"{group} is left out: {long[0]} has no document within {limit} tokens", file=sys.stderr)
        else:
            groups[group] = sources
    return found | ({"gold_bpb": CAPABILITIES | {"groups": groups, "add_bos": bos}} if groups else {})


def found_of(jobs: dict[str, Stage], more: Sequence[Path] = ()) -> Sides:
    """Return what was measured after each step, in `more` files too, and what recovery found of itself."""
    written = [file for job in jobs.values() if job.stage == "measure" for file in job.outputs()]
    files = [*more, *(file for file in written if file.suffix == ".json")]
    files += [file for job in jobs.values() for file in job.outputs() if files and file.name == RECOVERED]
    return read_sides({file: read_result(file) for file in files})


def too_few_pairs(jobs: dict[str, Any]) -> list[str]:
    """Return a warning if recovery reads its pairs more than once, since there are fewer than its steps need."""
    if "recover" not in jobs:
        return []
    learnt, lora = len(load_packed(jobs["pack"].out)[0].tokens), jobs["recover"].options
    read = (lora.max_steps or 0) * lora.batch
    return [
        f"Warning: too few pairs for {lora.max_steps} steps of {lora.batch} sequences: they fill {learnt}, which "
        f"are read {read / learnt:.1f} times (epochs). Give more pairs."
    ] * (read > learnt)


def outcome(
    asked: Pruning,
    recipe: PruningRecipe,
    model: Path,
    jobs: dict[str, Stage],
    step: str,
    warnings: list[str],
    swept: Sequence[Path] = (),
) -> BeforeAfter:
    """Return the comparison of the exported step in rows and sentences, and write it into the model's card.

    Files that a sweep has `swept` hold what it measured of the dense and of the chosen model.
    """
    out, dense, sides = asked.out / MODEL, load_skeleton(model), found_of(jobs, swept)
    sizes = count_parameters(dense), read_json(out / PROVENANCE)["parameters"]
    sample = read_json(jobs["sample"].outputs()[0]) if "sample" in jobs else {}
    weights, repeated = (weight_bytes(model), weight_bytes(out)), sample.get("repeated", {})
    rows = rows_of(sides, step, sizes, weights, repeated)
    said = [
        *conclusions(rows, dense.config.vocab_size, repaired=bool(asked.recover), most=asked.max_loss),
        *warnings,
    ]
    recovered = [file for job in jobs.values() for file in job.outputs() if file.name == RECOVERED]
    values = [value for file in recovered for value in read_result(file)["values"]]
    if any((value["metric"], value["value"]) == ("kept_step", 0) for value in values):
        said.append("Recovery kept step 0: no training was better, and its adapter changes nothing.")
    said += [*too_few_pairs(jobs), *[recipe.shown] * bool(recipe.shown)]
    found = BeforeAfter(rows, step, said, sample, timed_on(sides))
    write_card(out, model, found)
    return found
