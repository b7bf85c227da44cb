"""Prune a model of one's own: everything from its weights to a checkpoint, and what was lost, in one call."""

import os
import sys
import time
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfprune.errors import HfpruneError, missing
from hfprune.files import read_json, write_json
from hfprune.pruning.config import Pruning
from hfprune.settings import load, validate

if TYPE_CHECKING:
    from hfprune.analysis.before_after import Row
    from hfprune.page.pruned import PrunedOutcome
    from hfprune.pruning.recipe import PruningRecipe
    from hfprune.stages import Stage
    from hfprune.study.places import Files


def prune(
    model: str | os.PathLike[str], ratio: float, out: str | os.PathLike[str], **options: Any
) -> "list[Row]":
    """Prune a model and compare it with the dense one, as `hfprune prune` does.

    Args:
        model: a name of the catalogue, a folder, a `.gguf` file or a hub id.
        ratio: fraction of all parameters to remove.
        out: folder that gets `model` (a checkpoint with its card), `report.html` and `work`.
        options: the other flags of the command, such as `criterion="magnitude"`, `text="my.jsonl"`, `seed=1`.

    Returns:
        The rows of the comparison: perplexity, distance, bits per byte by capability, sizes and speeds; without
        `compare`, the sizes alone.

    Raises:
        HfpruneError: a mistake in the arguments, a model that cannot be pruned, a text that is too short, a folder
            that holds something else, or a full disk.
    """
    given = {"model": os.fspath(model), "ratio": ratio, "out": os.fspath(out)} | options
    return compared(validate(Pruning, given, "prune")).rows


def compared(asked: Pruning) -> "PrunedOutcome":
    from hfprune.page.pruned import write_pruned_page
    from hfprune.pruning.compared import fitting, lacking, outcome
    from hfprune.pruning.folder import MODEL, REPORT, claimed
    from hfprune.pruning.one_cell import fewest_blocks, jobs_of, one_cell
    from hfprune.pruning.recipe import chosen

    recipe = chosen(asked)
    if asked.recover and not find_spec("peft"):
        raise HfpruneError(f"--recover: {missing(ModuleNotFoundError(name='peft'))}")
    if asked.compare and not asked.quick and (line := lacking()):
        print(f"right answers are left out of the comparison: {line}", file=sys.stderr)
    with claimed(asked.out, asked.model_dump(mode="json")):
        folders = _fetched(asked)
        least = fewest_blocks(asked, recipe, folders["models"])
        files = one_cell(asked, recipe, folders, fitting(asked, folders["models"]), least)
        jobs = jobs_of(files, asked)
        seconds = _take_all(files, jobs, least, asked)
        found = outcome(asked, recipe, folders["models"], jobs)
        write_pruned_page(
            asked.out / REPORT, asked.out / MODEL, found, _settings(asked, recipe, jobs), seconds
        )
    return found


def _fetched(asked: Pruning) -> dict[str, Path]:
    """Return the folders of the model, the text and the pairs by their kinds; all is fetched before any work."""
    from hfprune.assets.catalogue import Catalogue
    from hfprune.assets.resolving import resolve
    from hfprune.pruning.compared import read_later
    from hfprune.stages.fetch import fetch

    start = time.perf_counter()
    print("fetch …", file=sys.stderr)
    spelt = {"models": asked.model, "corpora": asked.text, "instructions": asked.recover}
    found = {
        kind: resolve(kind, word, asked.resources, asked.catalogue) for kind, word in spelt.items() if word
    }
    later = read_later(asked)
    if f"corpora/{found['corpora'].name}" in later:
        raise HfpruneError(f"--text: the comparison reads {found['corpora'].name}; calibrate on another text")
    absent = [asset for asset in later if not (asked.resources / asset / "asset.json").is_file()]
    fetch(absent, load(Catalogue, asked.catalogue), asked.catalogue, asked.resources)
    print(f"fetch: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return found


def _foretell(files: "Files", jobs: "dict[str, Stage]") -> None:
    """Say the minutes to the exported model and those of the comparison, by the table of devices."""
    from hfprune.cost.costs import Costs
    from hfprune.devices.known import nominal_cpu, visible_device

    costs = Costs(files, jobs.values(), visible_device() or nominal_cpu())
    taken = {"to the model": 0.0, "for the comparison": 0.0}
    for job, cost in zip(costs.jobs, costs.each, strict=True):
        part = "for the comparison" if job.stage == "measure" else "to the model"
        taken[part] += (cost.seconds - costs.start) * cost.share / 60
    model, then = taken.values()
    comparison = f", then about {then:.1f} for the comparison" if then else ""
    print(f"about {model:.1f} minutes to the model{comparison}", file=sys.stderr)


def _take_all(files: "Files", jobs: "dict[str, Stage]", least: int, asked: Pruning) -> dict[str, float]:
    """Run the jobs in order, each announced by its number and timed, and return the seconds of each by its title.

    A job whose result is there keeps the seconds that it took. What jobs print goes to `work/log.txt`.

    Raises:
        HfpruneError: of a job; or the text fills fewer blocks than linear recovery takes.
    """
    from hfprune.models.blocks import load_blocks

    record, seconds = files.results / "seconds.json", {}
    before = read_json(record) if record.exists() else {}
    for number, (title, job) in enumerate(jobs.items(), start=1):
        if title == "score":  # once the text is known to fill its blocks
            _foretell(files, jobs)
        head, start = f"[{number}/{len(jobs)}] {title}", time.perf_counter()
        print(f"{head} …", file=sys.stderr)
        with (files.results / "log.txt").open("a") as log, redirect_stdout(log):
            anew = job.run() is not False
        seconds[title] = time.perf_counter() - start if anew else before.get(title, 0.0)
        write_json(record, before | seconds)
        said = "" if anew else "is there, took "
        print(f"{head}: {said}{seconds[title]:.0f} s", file=sys.stderr)
        for file in job.outputs() if job.stage == "calibrate" else ():
            if (blocks := len(load_blocks(file))) < least:
                raise HfpruneError(
                    f"--text: {asked.text} fills {blocks} blocks, but reconstruction takes {least} or "
                    "more: give a longer text, or --no-linear"
                )
    return seconds


def _settings(asked: Pruning, recipe: "PruningRecipe", jobs: "dict[str, Any]") -> dict[str, Any]:
    from hfprune.models.blocks import load_blocks

    # A short text fills fewer blocks than were asked for.
    drawn = len(load_blocks(jobs["calibrate"].out)) if "calibrate" in jobs else 0
    scored = jobs["score"].sequences
    shown = asked.model_dump(mode="json", exclude={"out", "resources", "catalogue", "sequences"})
    shown |= recipe._asdict() | {"allocation": recipe.allocation.model_dump()}
    return shown | {
        "gained": recipe.gained or None,
        "sequences scored on": scored and min(drawn, scored),
        "sequences used to solve weights": drawn if recipe.linear else None,
    }
