"""The paths of a study's files, in one place for the workflow and the commands."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from hfprune.assets.shipped import shipped
from hfprune.errors import HfpruneError, nearest
from hfprune.measurement import Measure
from hfprune.results import DENSE, Cell
from hfprune.rounding import spelt_ratio
from hfprune.settings import NAME
from hfprune.study.study import Study

# Below results/<study>. Snakemake fills the wildcards in rules; `fill` fills them here.
BLOCKS = "calibration/{model}/{corpus}/seed{seed}"
BUDGET = "budgets/{model}/{ratio}"
METHOD = "methods/{method}"
SCORES = "scores/{model}/{method}/seed{seed}"
PLAN = "plans/{model}/{method}/{ratio}/seed{seed}"
# The scores and plan of one step of a method with several; the first scores and the last plan are those above.
STEP_SCORES = "steps/{model}/{method}/{ratio}/seed{seed}/scores{step}"
STEP_PLAN = "steps/{model}/{method}/{ratio}/seed{seed}/plan{step}"
RECOVERY = "recoveries/{model}/{method}/{ratio}/seed{seed}/{recovery}"
# Instruction pairs as sequences, for all recoveries of a model.
PAIRS = "pairs/{model}/seed{seed}"
# Beside scores and plans: those of resampled calibrations.
RESAMPLED = ".resampled.safetensors"
# The output folder of an external baseline that writes no plan.
CHECKPOINT = "checkpoints/{model}/{method}/{ratio}/seed{seed}"
CELL = "cells/{model}/{method}/{ratio}/seed{seed}/{recovery}"
# Results of measures of scoring itself, which has no ratio.
SCORING = "cells/{model}/{method}/scoring/seed{seed}"

# The files of `collect`, in this order.
TIDY = (
    *("results.csv", "items.parquet", "records.parquet", "study.yaml"),
    *("neurons.csv", "layers.parquet"),
)
# The files that `effects` adds to those of `collect`.
EFFECTS, CLAIMS, DRAWS, ANSWERS = ANALYSED = ("effects.csv", "claims.csv", "draws.csv", "answers.csv")
# What `check` says of them.
CHECK = "check.md"


def fill(pattern: str, cell: Cell, **more: Any) -> str:
    """Fill a pattern's wildcards from a cell; a ratio is written without trailing zeros."""
    known = asdict(cell) | {"ratio": spelt_ratio(cell.ratio)}
    return pattern.format(**known | more)


def results_of(cell: Cell) -> str:
    """Return the folder of a cell's results, below results/<study>; one without a ratio has those of scoring."""
    return fill(SCORING if cell.ratio is None else CELL, cell)


def cells(name: str, study: Study) -> Iterator[Cell]:
    """Yield every cell of a study.

    The dense model, which no seed changes, comes once per model. The dense model with an adapter, the control of
    the pruned ones, comes once per seed. The recovery section decides which pruned cells get adapters.
    """
    for model in study.models:
        yield Cell(name, model, DENSE, 0.0, study.seeds[0], "none")
        for seed in study.seeds if study.trains(model) else ():
            yield Cell(name, model, DENSE, 0.0, seed, "lora")
        recoveries = study.recoveries_of(model)
        pruned = product(study.methods_of(model), study.ratios_of(model), study.seeds, recoveries)
        for method, ratio, seed, recovery in pruned:
            if ratio not in (study.methods[method].ratios or [ratio]):
                continue
            if recovery.startswith("linear") and study.methods[method].baseline:
                continue  # which may have no plan
            if "lora" not in recovery or (study.recovery and study.recovery.covers(method, ratio)):
                yield Cell(name, model, method, ratio, seed, recovery)


def scorings(name: str, study: Study) -> Iterator[Cell]:
    """Yield a cell without a ratio for the scoring of each model by each criterion, under the first seed."""
    for model in study.models:
        for method in study.methods_of(model):
            if study.methods[method].baseline is None:
                yield Cell(name, model, method, None, study.seeds[0], "none")


def solves(study: Study, cell: Cell) -> str:
    """Return the solution that a cell's model takes after its plan: `linear`, `bias`, or "" for none.

    A solution that is a recovery replaces the bias that a method asks for.
    """
    if cell.recovery.startswith("linear"):
        return "linear"
    return "bias" if cell.method != DENSE and study.methods[cell.method].bias else ""


def measures_of(study: Study, measures: dict[str, Measure], cell: Cell) -> list[str]:
    """Return those of the study's measures that are taken of a cell, which `cells` or `scorings` yields."""
    changed = cell.method != DENSE or cell.recovery != "none"
    return [
        name
        for name, measure in measures.items()
        if (measure.needs == "criterion") == (cell.ratio is None)
        and study.measures[name].covers(cell.method, cell.ratio)
        and (measure.recovered or cell.recovery == "none")
        # The dense model's distance to itself is always 0.
        and {"beside": changed, "dense": not changed}.get(measure.needs, True)
    ]


def together(name: str, study: Study, measures: dict[str, Measure]) -> dict[tuple[str, ...], list[Cell]]:
    """Return the measures that one job takes of a cell, and the cells where it takes these.

    All that is measured of a cell is one job, but for measures that run alone on the machine.
    """
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells(name, study):
        wanted = sorted(measures_of(study, measures, cell))
        alone = [each for each in wanted if measures[each].exclusive]
        for names in [[each for each in wanted if each not in alone], *([each] for each in alone)]:
            if names:
                found.setdefault(tuple(names), []).append(cell)
    return found


def batches(cells: Iterable[Cell], study: Study, size: int) -> Iterator[list[Cell]]:
    """Yield the cells that one process measures, one after another: at most `size`, of one model.

    They need the same: all are recovered or none, and all are of one baseline or of criteria, so that a baseline
    or a recovery that fails keeps no other cell waiting.
    """
    alike: dict[tuple[str, str, str, str | None], list[Cell]] = {}
    for cell in cells:
        method = study.methods.get(cell.method)
        needs = cell.recovery, solves(study, cell), method.baseline if method else None
        alike.setdefault((cell.model, *needs), []).append(cell)
    for found in alike.values():
        for start in range(0, len(found), size):
            yield found[start : start + size]


def study_file(named: str) -> Path:
    """Return the file of a study, which is named by itself or by its place in `config/studies`.

    Raises:
        HfpruneError: there is no such study, or its name has characters besides letters, digits, . _ and -.
    """
    path = shipped(Path(named) if named.endswith((".yaml", ".yml")) else Path(f"config/studies/{named}.yaml"))
    if not re.fullmatch(NAME, path.stem):
        raise HfpruneError(
            f"{path}: {path.stem!r} cannot be the name of a folder of results; rename the file"
        )
    if not path.exists():
        known = sorted(study.stem for study in shipped(Path("config/studies")).glob("*.yaml"))
        hint = nearest(path.stem, known, otherwise=f" (config/studies has: {', '.join(known)})")
        raise HfpruneError(f"no study {path.stem!r} in {path.parent}{hint}")
    return path
