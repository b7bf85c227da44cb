"""What `hfprune prune` measures of a pruned model and its dense one, and what it finds."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from hfprune.assets.corpora import read_corpus
from hfprune.assets.requests import read_requests
from hfprune.cells import read_result
from hfprune.comparison.before_after import (
    ASKED,
    OWN,
    SPEED,
    STORAGE,
    BeforeAfter,
    Sample,
    Sides,
    read_sides,
    timed_on,
)
from hfprune.comparison.rows import rows_of, weight_bytes
from hfprune.comparison.steps import LIMIT
from hfprune.comparison.usability import conclusions, fast_enough
from hfprune.errors import HfpruneError, missing, nearest
from hfprune.exports.export_folder import PROVENANCE
from hfprune.files import read_json
from hfprune.measurement import MEASURES, TextMeasure
from hfprune.measures.gold_bpb import SHORT
from hfprune.models.load import load_skeleton, load_tokenizer
from hfprune.models.units import count_parameters
from hfprune.pruning.calibration_text import CalibrationText
from hfprune.pruning.config import Pruning
from hfprune.pruning.folder import MODEL
from hfprune.recovery.packing import load_packed
from hfprune.settings.recovery import RECOVERED
from hfprune.stages import Stage
from hfprune.stages.pack import Pack
from hfprune.stages.recover import Recover

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A measure as a study declares it.
Declared = dict[str, JsonValue]

# What every comparison reads, so that a row means the same in each. Fewer documents decide little: 27 left a rise
# of perplexity by 21 % between 6 and 73 %.
READ = "c4-reading"
HELDOUT: Declared = {"corpus": READ, "sequences": 96, "length": 128}
# Of a text of the user's: a crop of each document, or joined ones where too few are long enough.
OWN_TEXT: Declared = {"sequences": 256, "length": 128}
LONG, ENOUGH = 800, 16  # characters that surely have so many tokens; documents
QUESTIONS = 50
# By what --max-loss judges (`LIMIT`): short crops of many documents, which show a loss in seconds.
CROPS: Declared = {
    "measure": "perplexity",
    "corpus": "wikipedia-sample",
    "sequences": 64,
    "length": 128,
}
# By what --keep judges: enough questions of each task for an interval that a cut can be within.
KEPT, KEPT_DOCUMENTS = f"{ASKED}gold_bpb", 48
# Questions of each task of a capability, and the most tokens of one. Eight questions of code left its loss
# between 0 and 87 %.
DOCUMENTS, MOST_TOKENS = 32, 2048
# An interval needs eight repeats or more.
TURNS: Declared = {"prompt_tokens": 128, "new_tokens": 16, "repeats": 12}


def lacking() -> str:
    """Return how to install what right answers need, or "" where it is; all else is worth having without."""
    return "" if find_spec("lm_eval") else missing(ModuleNotFoundError(name="lm_eval"))


def check_kept(asked: Pruning) -> None:
    """Fail if a capability that is to be kept is none, or cannot be measured.

    Raises:
        HfpruneError: it names the nearest capability, or what is missing.
    """
    for name in asked.keep:
        if name not in SHORT:
            raise HfpruneError(f"--keep: unknown capability {name!r}{nearest(name, SHORT)}")
    if asked.keep and (line := lacking()):
        raise HfpruneError(f"--keep: {line}")


def read_later(asked: Pruning) -> list[str]:
    """Return the assets that the comparison reads, as `kind/name`, but those that are spelt in the call."""
    assets = [f"corpora/{READ}"] if asked.compare else []
    # Other text than the comparison's, whose intervals would else know nothing of the choice.
    assets += [f"corpora/{CROPS['corpus']}"] if asked.max_loss else []
    all_groups = asked.compare and not asked.quick and not lacking()
    groups = SHORT if all_groups else {name: SHORT[name] for name in asked.keep}
    return assets + [f"requests/{name}" for group in groups.values() for name in group]


def _of_texts() -> list[str]:
    """Return the measures of text, each of which is compared: a new one of them appears by being there."""
    known = {name: MEASURES.load(name) for name in MEASURES.sources()}
    return [
        name
        for name, measure in known.items()
        if issubclass(measure, TextMeasure) and measure.needs in ("model", "beside")
    ]


def limited(asked: Pruning, folders: dict[str, Path]) -> dict[str, Declared]:
    """Return the measures by which limits are judged: speed, perplexity and capabilities that are to be kept.

    Raises:
        HfpruneError: no document of such a capability fits the model's context.
    """
    measures = {SPEED: TURNS | {"batch": asked.batch}} if asked.speedup else {}
    measures |= {LIMIT: CROPS} if asked.max_loss else {}
    if not asked.keep:
        return measures
    model = folders["models"]
    tokenizer, most = load_tokenizer(model), _most_tokens(model)
    groups = {name: SHORT[name] for name in asked.keep}
    if long := {name: source for name in groups if (source := _too_long(asked, name, tokenizer, most))}:
        group, source = next(iter(long.items()))
        raise HfpruneError(f"--keep: {group}: {source} has no document within {most} tokens; keep others")
    return measures | {KEPT: _right_answers(groups, KEPT_DOCUMENTS, tokenizer) | {"measure": "gold_bpb"}}


def fitting(asked: Pruning, folders: dict[str, Path]) -> dict[str, Declared]:
    """Return what is measured, with the capabilities whose tasks have documents that fit the model's context.

    Those that are left out are named. All assets must be fetched; `folders` are theirs, by kind and name.
    """
    if not asked.compare:
        return {}
    of_texts = _of_texts()
    measures = {name: HELDOUT for name in of_texts} | limited(asked, folders)
    measures |= {} if asked.quick else {SPEED: TURNS | {"batch": asked.batch}}
    measures |= {STORAGE: {}} if asked.beside else {}
    for asset, folder in folders.items():
        if asset.startswith("corpora/"):
            long_ones = sum(len(text) > LONG for text in read_corpus(folder))
            own = OWN_TEXT | {"sampling": "crop" if long_ones >= ENOUGH else "pack"}
            own |= {"corpus": asset.removeprefix("corpora/")}
            measures |= {f"{OWN}{name}": own | {"measure": name} for name in of_texts}
    tokenizer, most = load_tokenizer(folders["models"]), _most_tokens(folders["models"])
    if tasks := [asset.removeprefix("tasks/") for asset in folders if asset.startswith("tasks/")]:
        measures["tasks"] = {"tasks": [*tasks], "documents": QUESTIONS, "add_bos": _adds_bos(tokenizer)}
    if asked.quick or lacking():
        return measures
    groups = {name: sources for name, sources in SHORT.items() if name not in asked.keep}
    for group in [*groups]:
        if source := _too_long(asked, group, tokenizer, most):
            print(f"{group} is left out: {source} has no document within {most} tokens", file=sys.stderr)
            del groups[group]
    return measures | ({"gold_bpb": _right_answers(groups, DOCUMENTS, tokenizer)} if groups else {})


def _right_answers(
    groups: Mapping[str, list[str]], documents: int, tokenizer: "PreTrainedTokenizerBase"
) -> Declared:
    """Return the measure of right answers of these capabilities, on so many documents of each task."""
    sources: JsonValue = {name: [*group] for name, group in groups.items()}
    most = {"documents": documents, "max_tokens": MOST_TOKENS}
    return most | {"groups": sources, "add_bos": _adds_bos(tokenizer)}


def _adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Tell whether the tokenizer adds BOS, as the model was trained."""
    return (tokenizer("a")["input_ids"] or [None])[0] == tokenizer.bos_token_id is not None


def _most_tokens(model: Path) -> int:
    context = read_json(model / "config.json").get("max_position_embeddings") or MOST_TOKENS
    return int(min(context, MOST_TOKENS))


def _too_long(asked: Pruning, group: str, tokenizer: "PreTrainedTokenizerBase", most: int) -> str:
    """Return the first task of a capability that has no document of fewer tokens than `most`, or "" for none."""
    for source in SHORT[group]:
        rows = read_requests(asked.resources / "requests" / source).to_pylist()
        shortest = sorted((row["context"] + row["continuation"] for row in rows), key=len)[:DOCUMENTS]
        if not any(len(tokenizer(text)["input_ids"]) < most for text in shortest):
            return source
    return ""


def found_of(jobs: dict[str, Stage], more: Sequence[Path] = ()) -> Sides:
    """Return what was measured after each step, in `more` files too, and what recovery found of itself."""
    measured = [job for title, job in jobs.items() if title.startswith("measure ")]  # and no rival
    written = [file for job in measured for file in job.outputs()]
    files = [*more, *(file for file in written if file.suffix == ".json")]
    files += [file for job in jobs.values() for file in job.outputs() if files and file.name == RECOVERED]
    return read_sides({file: read_result(file) for file in files})


def too_few_pairs(jobs: dict[str, Stage]) -> list[str]:
    """Return a warning if recovery reads its pairs more than once, since there are fewer than its steps need."""
    pack, recover = jobs.get("pack"), jobs.get("recover")
    if not isinstance(pack, Pack) or not isinstance(recover, Recover):
        return []
    learnt, lora = len(load_packed(pack.out)[0].tokens), recover.options
    read = (lora.max_steps or 0) * lora.batch
    return [
        f"Warning: too few pairs for {lora.max_steps} steps of {lora.batch} sequences: they fill {learnt}, which "
        f"are read {read / learnt:.1f} times (epochs). Give more pairs."
    ] * (read > learnt)


def outcome(
    asked: Pruning,
    text: CalibrationText,
    model: Path,
    jobs: dict[str, Stage],
    step: str,
    warnings: list[str],
    swept: Sequence[Path] = (),
) -> BeforeAfter:
    """Return the comparison of the exported step in rows and sentences.

    Files that a sweep has `swept` hold what it measured of the dense and of the chosen model.
    """
    out, dense, sides = asked.out / MODEL, load_skeleton(model), found_of(jobs, swept)
    sizes = count_parameters(dense), read_json(out / PROVENANCE)["parameters"]
    sample = read_json(jobs["sample"].outputs()[0]) if "sample" in jobs else {}
    weights, repeated = (weight_bytes(model), weight_bytes(out)), sample.get("repeated", {})
    shown = Sample(sample["prompt"], sample["before"], sample["after"]) if sample else None
    effects = rows_of(sides, step, sizes, weights, repeated)
    comparison = BeforeAfter(effects, step, [], shown, timed_on(sides))
    said = [
        *conclusions(
            comparison.rows,
            dense.config.vocab_size,
            repaired=bool(asked.recover),
            most=asked.max_loss,
            keep=asked.keep,
            calibrated_on=text.name if "calibrate" in jobs else "",
        ),
        *([fast_enough(comparison.rows, asked.speedup)] if asked.speedup else ()),
        *warnings,
    ]
    recovered = [file for job in jobs.values() for file in job.outputs() if file.name == RECOVERED]
    values = [value for file in recovered for value in read_result(file).values]
    if any((value.metric, value.value) == ("kept_step", 0) for value in values):
        said.append("Recovery kept step 0: no training was better, and its adapter changes nothing.")
    said += too_few_pairs(jobs)
    said += [f"Calibrated on {text.about()}."] * ("calibrate" in jobs)
    return replace(comparison, conclusions=said)
