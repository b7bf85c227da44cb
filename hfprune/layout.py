"""Where a study's files lie: the one place that both the workflow and `hfprune collect` read."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from hfprune.errors import HfpruneError
from hfprune.results import DENSE, Cell
from hfprune.study import Study

# Below results/<study>. Snakemake fills the wildcards in rules; `fill` fills them here.
BLOCKS = "calibration/{model}/{corpus}/seed{seed}"
BUDGET = "budgets/{model}"
SCORES = "scores/{model}/{method}/seed{seed}"
PLAN = "plans/{model}/{method}/{ratio}/seed{seed}"
RECOVERY = "recoveries/{model}/{method}/{ratio}/seed{seed}/{recovery}"
# The folder that an external baseline writes, if it does not write a plan.
CHECKPOINT = "checkpoints/{model}/{method}/{ratio}/seed{seed}"
CELL = "cells/{model}/{method}/{ratio}/seed{seed}/{recovery}"
# In the folder of a recovery: the two of peft, and what the run found.
ADAPTER, ADAPTER_CONFIG, RECOVERED = "adapter_model.safetensors", "adapter_config.json", "recovery.json"
DISTRIBUTIONS = "distributions/{model}"

# What `collect` writes, in this order.
TIDY = (
    *("results.parquet", "results.csv", "overlap.csv", "rank_correlation.csv", "score_quantiles.csv"),
    *("neurons.parquet", "distributions.parquet", "calibration.csv", "provenance.json"),
)
# Names of the files that `tables` and `figures` write, without suffix.
PAPER_TABLES = tuple(f"table{number}" for number in range(1, 9))
TABLES = (*PAPER_TABLES, "calibration")
FIGURES = (
    *("accuracy", "published", "fidelity", "tasks", "overlap", "agreement"),
    *("scores", "neurons", "distributions", "calibration", "claims", "comparison"),
)


def fill(pattern: str, cell: Cell) -> str:
    """Fill a pattern's wildcards from a cell; a ratio is written without trailing zeros."""
    ratio = "" if cell.ratio is None else f"{cell.ratio:g}"
    return pattern.format(
        model=cell.model, method=cell.method, ratio=ratio, seed=cell.seed, recovery=cell.recovery
    )


def cells(name: str, study: Study) -> Iterator[Cell]:
    """Yield every cell of a study.

    The dense model, which no seed changes, comes once per model; recovered, as the control of the recovered
    pruned ones, once per seed. Of the pruned cells those are recovered that the recovery section covers.
    """
    recovered = [recovery for recovery in study.recoveries if recovery != "none"]
    for model in study.models:
        yield Cell(name, model, DENSE, 0.0, study.seeds[0], "none")
        for control, seed in product(recovered, study.seeds):
            yield Cell(name, model, DENSE, 0.0, seed, control)
        pruned = product(study.methods, study.ratios_of(model), study.seeds, study.recoveries)
        for method, ratio, seed, recovery in pruned:
            if recovery == "none" or (study.recovery and study.recovery.covers(method, ratio)):
                yield Cell(name, model, method, ratio, seed, recovery)


def measurements(study: Study, cell: Cell) -> list[str]:
    """Return the result files, below results/<study>, of what is measured on one cell."""
    folder = fill(CELL, cell)
    measures = study.measures
    files = [
        f"{folder}/zeroshot/{task}.json" for task in (measures.zeroshot.tasks if measures.zeroshot else [])
    ]
    changed = cell.method != DENSE or cell.recovery != "none"
    if measures.fidelity and changed:  # the dense model's distance to itself says nothing
        files.append(f"{folder}/fidelity.json")
    if measures.perplexity:
        files.append(f"{folder}/perplexity.json")
    timed = [DENSE, *(measures.latency.methods or study.methods)] if measures.latency else []
    if cell.method in timed and cell.recovery == "none":  # a merged adapter changes no shape
        files.append(f"{folder}/latency.json")
    if measures.ablation and not changed:
        files.append(f"{folder}/ablation.json")
    return files


def score_files(name: str, study: Study) -> list[str]:
    """Return the scores of a study's criteria, below results/<study>."""
    return _of_pruned_cells(name, study, SCORES + ".safetensors", baselines=False)


def plan_files(name: str, study: Study) -> list[str]:
    """Return the plans of a study's criteria, below results/<study>."""
    return _of_pruned_cells(name, study, PLAN + ".safetensors", baselines=False)


def baseline_plan_files(name: str, study: Study) -> list[str]:
    """Return the plans that baselines may have written, below results/<study>; others write checkpoints."""
    return _of_pruned_cells(name, study, PLAN + ".safetensors", baselines=True)


def recovery_files(name: str, study: Study) -> list[str]:
    """Return the results of a study's recoveries, below results/<study>; each lies in its adapter's folder."""
    recovered = (cell for cell in cells(name, study) if cell.recovery != "none")
    return [f"{fill(RECOVERY, cell)}/{RECOVERED}" for cell in recovered]


def result_files(name: str, study: Study) -> list[str]:
    """Return every result file of a study, below results/<study>: cost, size, recoveries, measurements."""
    return [
        *_of_pruned_cells(name, study, SCORES + ".json", baselines=False),
        *_of_pruned_cells(name, study, PLAN + ".json"),
        *recovery_files(name, study),
        *(file for cell in cells(name, study) for file in measurements(study, cell)),
    ]


def item_files(name: str, study: Study) -> list[str]:
    """Return the per-item outcomes of a study's measurements, below results/<study>."""
    found = (file for cell in cells(name, study) for file in measurements(study, cell))
    return [str(Path(file).with_suffix(".parquet")) for file in found]


def distribution_files(study: Study) -> list[str]:
    """Return the next-token distributions of a study's models, below results/<study>."""
    return [f"{DISTRIBUTIONS.format(model=model)}.parquet" for model in study.models]


def _of_pruned_cells(name: str, study: Study, pattern: str, baselines: bool | None = None) -> list[str]:
    """Fill `pattern` for every pruned cell; `baselines` takes theirs only (True) or leaves them out (False)."""
    pruned = (
        cell
        for cell in cells(name, study)
        if cell.method != DENSE and baselines in (None, study.methods[cell.method].baseline is not None)
    )
    return list(dict.fromkeys(fill(pattern, cell) for cell in pruned))  # cells share scores and plans


def parse_cell(text: str) -> Cell:
    """Read `study/model/method/ratio/seed/recovery` as a cell; an empty ratio stands for none.

    Raises:
        HfpruneError: another form.
    """
    try:
        study, model, method, ratio, seed, recovery = text.split("/")
        return Cell(study, model, method, float(ratio) if ratio else None, int(seed), recovery)
    except ValueError as error:
        raise HfpruneError(f"{text!r} is no cell: give study/model/method/ratio/seed/recovery") from error


def study_name(path: Path) -> str:
    """Return a study's name: that of its file."""
    return path.stem
