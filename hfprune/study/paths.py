"""The paths of a study's files, in one place for the workflow and the commands."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hfprune.assets.shipped import shipped
from hfprune.cells import Cell
from hfprune.errors import HfpruneError, nearest
from hfprune.rounding import spelt_ratio
from hfprune.settings import NAME

# Below results/<study>. Snakemake fills the wildcards in rules; `fill` fills them here.
BLOCKS = "calibration/{model}/{calibration}/draw{draw}"
BUDGET = "budgets/{model}/{ratio}"
METHOD = "methods/{method}"
_SCORED = "{model}/{method}/{calibration}/{sequences}"
SCORES = f"scores/{_SCORED}/draw{{draw}}"
PLAN = f"plans/{_SCORED}/{{ratio}}/draw{{draw}}"
RECOVERY = f"recoveries/{_SCORED}/{{ratio}}/draw{{draw}}/{{recovery}}"
# Instruction pairs as sequences, for all recoveries of a model.
PAIRS = "pairs/{model}/draw{draw}"
# Suffix of the scores and plans of resampled calibrations, beside the others.
RESAMPLED = ".resampled.safetensors"
# The output folder of an external baseline that writes no plan.
CHECKPOINT = f"checkpoints/{_SCORED}/{{ratio}}/draw{{draw}}"
CELL = f"cells/{_SCORED}/{{ratio}}/draw{{draw}}/{{recovery}}"
# Results of measures of scoring itself, which has no ratio.
SCORING = f"cells/{_SCORED}/scoring/draw{{draw}}"

# The files of `collect`, in this order.
TIDY = ("results.csv", "items.parquet", "records.parquet", "study.yaml", "neurons.csv")
# The files that `effects` adds to those of `collect`.
EFFECTS, CLAIMS, DRAWS, ANSWERS = ANALYSED = ("effects.csv", "claims.csv", "draws.csv", "answers.csv")
# The report of `check`.
CHECK = "check.md"
# The folder of the paper's tables.
TABLES = "tables"


def fill(pattern: str, cell: Cell, **more: Any) -> str:
    """Fill a pattern's wildcards from a cell; a ratio is written without trailing zeros."""
    fields = asdict(cell) | {"ratio": spelt_ratio(cell.ratio)}
    return pattern.format(**fields | more)


def results_of(cell: Cell) -> str:
    """Return the folder of a cell's results below results/<study>; a cell without a ratio is a scoring."""
    return fill(SCORING if cell.ratio is None else CELL, cell)


def study_file(named: str) -> Path:
    """Return the file of a study, given by its path or by its name in `config/studies`.

    Raises:
        HfpruneError: there is no such study, or its name has characters besides letters, digits, . _ and -.
    """
    path = shipped(Path(named) if named.endswith((".yaml", ".yml")) else Path(f"config/studies/{named}.yaml"))
    if not re.fullmatch(NAME, path.stem):
        raise HfpruneError(
            f"{path}: {path.stem!r} cannot be the name of a folder of results; rename the file"
        )
    if not path.exists():
        studies = sorted(study.stem for study in shipped(Path("config/studies")).glob("*.yaml"))
        hint = nearest(path.stem, studies, otherwise=f" (config/studies has: {', '.join(studies)})")
        raise HfpruneError(f"no study {path.stem!r} in {path.parent}{hint}")
    return path
