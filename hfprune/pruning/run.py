"""Prune a model of one's own: everything from its weights to a checkpoint, and what was lost, in one call."""

import os
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import JsonValue

from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError, missing
from hfprune.files import read_json, write_json
from hfprune.pruning.config import Pruning
from hfprune.settings import load, validate

if TYPE_CHECKING:
    from hfprune.comparison.before_after import BeforeAfter
    from hfprune.cost.foretold import Foretold
    from hfprune.page.pruned import Swept
    from hfprune.pruning.beside_dense import Declared
    from hfprune.pruning.calibration_text import CalibrationText
    from hfprune.pruning.recipe import PruningRecipe
    from hfprune.results.effect_rows import EffectRow
    from hfprune.stages import Stage
    from hfprune.study.files import Files


class Sweep(NamedTuple):
    """What a sweep over ratios has found, for the rest of the call."""

    shown: "Swept"
    files: tuple[Path, ...]
    """The results of the dense model and of the cut that was chosen."""
    seconds: dict[str, float]
    """Of each step, by its title."""


def prune(
    model: str | os.PathLike[str],
    ratio: float | Literal["auto"],
    out: str | os.PathLike[str],
    **options: object,
) -> "list[EffectRow]":
    """Prune a model and compare it with the dense one, as `hfprune prune` does.

    Args:
        model: a name of the catalogue, a folder, a `.gguf` file or a hub id.
        ratio: fraction of all parameters to remove; auto: by `max_loss` (0.2: 20 %), `speedup` (1.2), `params` or
            `size`.
        out: folder that gets `model` (a checkpoint with its card), `report.html` and `work`.
        options: the other flags of the command, such as `criterion="magnitude"`, `text="my.jsonl"`, `seed=1`.

    Returns:
        The rows of the comparison: perplexity, distance, bits per byte by capability, sizes and speeds; without
        `compare`, the sizes, and what `max_loss` and `speedup` judge by.

    Raises:
        HfpruneError: a mistake in the arguments, a model that cannot be pruned, a text that is too short, a folder
            that holds something else, or a full disk.
    """
    given = {"model": os.fspath(model), "ratio": ratio, "out": os.fspath(out)} | options
    return pruned(validate(Pruning, given, "prune")).rows


def pruned(asked: Pruning) -> "BeforeAfter":
    """Prune as asked, page included, and return the comparison; errors are those of `prune`."""
    from hfprune.comparison.before_after import step_of
    from hfprune.comparison.steps import worth_taking
    from hfprune.cost.foretold import Foretold
    from hfprune.exports.checkpoint import write_card
    from hfprune.exports.export_folder import require_replaceable
    from hfprune.page.pruned import write_pruned_page
    from hfprune.pruning.beside_dense import check_kept, fitting, found_of, lacking, outcome
    from hfprune.pruning.calibration_text import calibration_text
    from hfprune.pruning.expectation import of_which_precision
    from hfprune.pruning.folder import MODEL, REPORT, SWEPT, claimed
    from hfprune.pruning.one_cell import fewest_blocks, jobs_of, one_cell
    from hfprune.pruning.recipe import chosen
    from hfprune.pruning.rivals import rival_lines
    from hfprune.scoring.fitting import require_by_layer

    recipe = chosen(asked)
    if asked.recover and not find_spec("peft"):
        raise HfpruneError(f"--recover: {missing(ModuleNotFoundError(name='peft'))}")
    check_kept(asked)
    if line := asked.compare and lacking():
        if asked.tasks:
            raise HfpruneError(f"--tasks: {line}")
        if not asked.quick:
            print(f"right answers are left out of the comparison: {line}", file=sys.stderr)
    text = calibration_text(asked)
    with claimed(asked.out, asked.model_dump(mode="json")):
        print(f"text to calibrate on: {text.about()}", file=sys.stderr)
        asked = asked.model_copy(update={"text": None if asked.mix else text.name})
        folders = _fetched(asked, text)
        if asked.device_map == "disk":
            criterion = {recipe.criterion: make_criterion(recipe.criterion, recipe.options)}
            dtype = None if asked.dtype == "auto" else asked.dtype
            require_by_layer(criterion, folders["models"], [*asked.units], dtype, asked.length)
        require_replaceable(asked.out / MODEL, folders["models"])
        measures, foretold = fitting(asked, folders), Foretold()
        asked, sweep = _at_its_ratio(asked, recipe, folders, measures, foretold)
        if not sweep:  # that of another call
            (asked.out / SWEPT).unlink(missing_ok=True)
        least = fewest_blocks(asked, recipe, folders["models"])
        files = one_cell(asked, recipe, folders, measures, least)
        recoveries = files.study.recoveries
        kept, said = recoveries[-1], list[str]()
        jobs = jobs_of(files, asked, kept)
        if not sweep:
            foretold.add(files, jobs)
        undecided = [*jobs].index("export") if measures and len(recoveries) > 1 else len(jobs)
        seconds = dict(sweep.seconds) if sweep else {}
        seconds |= _take_all(files, jobs, [*jobs][:undecided], least, asked, foretold)
        if undecided < len(jobs):
            step, said = worth_taking(found_of(jobs), keep=asked.keep_recovery, most=asked.max_loss)
            print(*said, sep="\n", end="\n" * bool(said), file=sys.stderr)
            (kept,) = (recovery for recovery in recoveries if step_of(recovery) == step)
            jobs = jobs_of(files, asked, kept)
            seconds |= _take_all(files, jobs, [*jobs][undecided:], least, asked, foretold)
        said += of_which_precision(asked, folders["models"])
        swept = sweep.files if sweep else ()
        comparison = outcome(asked, text, folders["models"], jobs, step_of(kept), said, swept)
        rivals = rival_lines(found_of(jobs, swept), step_of(kept), jobs) if asked.beside else []
        comparison = replace(comparison, rivals=rivals)
        write_card(asked.out / MODEL, folders["models"], comparison)
        settings, shown = _settings(asked, recipe, text, jobs), sweep.shown if sweep else None
        write_pruned_page(asked.out / REPORT, asked.out / MODEL, comparison, settings, seconds, shown)
    return comparison


def _at_its_ratio(
    asked: Pruning,
    recipe: "PruningRecipe",
    folders: dict[str, Path],
    measures: "dict[str, Declared]",
    foretold: "Foretold",
) -> tuple[Pruning, Sweep | None]:
    """Return the call with the ratio that its limit allows, and what was tried to find it.

    What to expect of the model, and what will load it, is said before anything is tried.
    """
    from hfprune.models.load import load_skeleton
    from hfprune.models.units import count_parameters
    from hfprune.pruning.beside_dense import limited
    from hfprune.pruning.expectation import expected, loaded_by
    from hfprune.pruning.one_cell import fewest_blocks, jobs_of, one_cell, ratio_within, swept_jobs

    model = folders["models"]
    if asked.params or asked.size:
        asked = asked.model_copy(update={"ratio": ratio_within(asked, recipe, model)})
    if line := expected(asked, count_parameters(load_skeleton(model))):
        print(line, file=sys.stderr)
    print(loaded_by(asked.plain, recipe.allocation), file=sys.stderr)
    if asked.ratio:
        return asked, None

    from hfprune.pruning.sweep import choice, cuts, shown

    least = fewest_blocks(asked, recipe, model)
    files = one_cell(asked, recipe, folders, limited(asked, folders), least)
    jobs = swept_jobs(files)
    foretold.add(files, jobs)
    # All cuts take about as long, so that any will do, unless an earlier call has measured which.
    limits = asked.max_loss, asked.speedup
    there = all(file.exists() for job in jobs.values() if job.stage == "measure" for file in job.outputs())
    known = choice(cuts(jobs, *limits)) if there else None
    at_one = asked.model_copy(update={"ratio": known.ratio if known else files.study.ratios[0]})
    later = one_cell(at_one, recipe, folders, measures, least)
    foretold.add(later, jobs_of(later, at_one, later.study.recoveries[-1]), {"plan", *jobs})
    seconds = _take_all(files, jobs, [*jobs], least, asked, foretold)
    best, table = shown(cuts(jobs, *limits), asked.out, asked.batch)
    return asked.model_copy(update={"ratio": best.ratio}), Sweep(table, best.files, seconds)


def _fetched(asked: Pruning, text: "CalibrationText") -> dict[str, Path]:
    """Return the folders of the model, the text and the pairs by their kinds; all is fetched before any work.

    Those that the comparison alone reads are there by kind and name.
    """
    from hfprune.assets.catalogue import Catalogue
    from hfprune.assets.resolving import is_there, resolve
    from hfprune.models.load import require_series
    from hfprune.pruning.beside_dense import read_later
    from hfprune.pruning.rivals import smaller_of
    from hfprune.stages.fetch import fetch

    start = time.perf_counter()
    print("fetch …", file=sys.stderr)
    folders, later = dict[str, Path](), read_later(asked)
    others = [("corpora", asked.eval_text)] if asked.eval_text else []
    others += [("tasks", task) for task in asked.tasks]
    for kind, word in others if asked.compare else ():
        folder = resolve(kind, word, asked.resources, asked.catalogue)
        if f"{kind}/{folder.name}" in later:
            raise HfpruneError(f"--eval-text: the comparison reads {folder.name} anyway; give another text")
        inside = folder.parent == asked.resources / kind
        folders[f"{kind}/{folder.name if inside else folder}"] = folder
    others_read = {folder.resolve() for asset, folder in folders.items() if asset.startswith("corpora/")}
    folders["corpora"] = text.folder(asked.resources, asked.catalogue)
    # The largest last, so that another name's mistake is found before it.
    catalogue = load(Catalogue, asked.catalogue)
    smaller = smaller_of(asked, catalogue.models)
    for kind, spelling in {"instructions": asked.recover, "models": asked.model}.items():
        if spelling:
            folders[kind] = resolve(kind, spelling, asked.resources, asked.catalogue)
    if smaller:
        folders["smaller"] = resolve("models", smaller, asked.resources, asked.catalogue)
        require_series(folders["smaller"], folders["models"])
    corpora = asked.resources / "corpora"
    for source in [folders["corpora"], *(corpora / name for name in text.shares)]:
        if f"corpora/{source.name}" in later or source.resolve() in others_read:
            raise HfpruneError(
                f"{'--mix' if asked.mix else '--text'}: the comparison reads {source.name}; "
                "calibrate on another text"
            )
    absent = [asset for asset in later if not is_there(asset, catalogue, asked.resources)]
    fetch(absent, catalogue, asked.catalogue, asked.resources)
    print(f"fetch: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return folders


def _take_all(
    files: "Files",
    jobs: "dict[str, Stage]",
    titles: list[str],
    least: int,
    asked: Pruning,
    foretold: "Foretold",
) -> dict[str, float]:
    """Run these jobs in order, each announced by its number and timed; return the seconds of each by its title.

    A job whose result is there keeps the seconds that it took, and of one that a sweep has done nothing is said.
    What jobs print goes to `work/log.txt`. The text must fill the `least` blocks that linear recovery takes.
    """
    from hfprune.calibration.blocks import load_blocks
    from hfprune.cost.foretold import SECONDS
    from hfprune.recovery.packing import load_packed

    record, seconds = files.results / SECONDS, {}
    before = read_json(record) if record.exists() else {}
    for title, job in ((title, jobs[title]) for title in titles):
        if foretold.is_due(title):
            print(foretold.announced(), file=sys.stderr)
        number, start = foretold.counted(title), time.perf_counter()
        if number:
            print(f"{number} {title} …{foretold.to_go()}", file=sys.stderr)
        with (files.results / "log.txt").open("a") as log, redirect_stdout(log):
            anew = job.run() is not False
        seconds[title] = time.perf_counter() - start if anew else before.get(title, 0.0)
        foretold.done(title, seconds[title] if anew else None)
        write_json(record, before | seconds)
        if number:
            said = "" if anew else "is there, took "
            print(f"{number} {title}: {said}{seconds[title]:.0f} s", file=sys.stderr)
        for file in job.outputs() if job.stage == "calibrate" else ():
            if (blocks := len(load_blocks(file))) < least:
                raise HfpruneError(
                    f"{'--mix: it' if asked.mix else f'--text: {asked.text}'} fills {blocks} blocks, but "
                    f"reconstruction takes {least} or more: give more text, or --no-linear"
                )
        if title == "pack" and not len(load_packed(job.outputs()[0])[1].tokens):
            raise HfpruneError(
                f"--recover: a tenth of the pairs in {asked.recover} is held out, and fills no sequence of "
                f"{files.study.recovery.length} tokens: give more pairs"  # type: ignore[union-attr]
            )
    return seconds


def _settings(
    asked: Pruning, recipe: "PruningRecipe", text: "CalibrationText", jobs: "dict[str, Stage]"
) -> dict[str, JsonValue]:
    from hfprune.calibration.blocks import load_blocks
    from hfprune.stages.score import Score

    # A short text fills fewer blocks than were asked for.
    drawn = len(load_blocks(jobs["calibrate"].outputs()[0])) if "calibrate" in jobs else 0
    score = jobs["score"]
    assert isinstance(score, Score)
    scored = next(iter(score.sizes), None)  # none of criteria that read weights alone
    shown = asked.model_dump(mode="json", exclude={"out", "resources", "catalogue", "sequences"})
    return (shown | recipe._asdict()) | {
        "text": text.about(),
        "allocation": recipe.allocation.model_dump(),
        "sequences scored on": scored and min(drawn, scored),
        "sequences used to solve weights": drawn if recipe.linear else None,
    }
