"""Result files → one tidy table; scores and plans → the tables behind the neuron figures."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from hfprune.analysis.declarations import Declarations, default_declarations
from hfprune.analysis.learning import learning_curves
from hfprune.analysis.neurons import (
    ABLATION,
    PlansByLayer,
    ScoresByLayer,
    middle_layers,
    overlaps,
    quantiles,
    rank_correlations,
    read_layers,
)
from hfprune.analysis.tidy import (
    CALIBRATION,
    COMPANION_COLUMNS,
    DTYPES,
    KEY,
    LABELS,
    LEARNING,
    METRICS_CSV,
    NEURON_SCORES,
    OVERLAP,
    PROVENANCE,
    QUANTILES,
    RANKS,
    RESULTS,
    RESULTS_CSV,
    TOKEN_DISTRIBUTIONS,
    brief,
)
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file, write_json
from hfprune.results import Cell, Value, read_result
from hfprune.study.labels import Label

DISTRIBUTIONS = "distributions"  # the measure whose items a figure shows
_SCORES = "scores/<model>/<method>/seed<k>.safetensors"
_PLANS = "plans/<model>/<method>/<ratio>/seed<k>.safetensors"
_NUMBERS = {"<ratio>": r"(\d*\.?\d+)", "<k>": r"(-?\d+)"}


@dataclass(frozen=True)
class _Result:
    cell: Cell
    measure: str
    task: str
    values: list[Value]


_RESULT = TypeAdapter(_Result)


def collect(
    results: list[Path],
    scores: list[Path],
    plans: list[Path],
    out: Path,
    declarations: Declarations | None = None,
    labels: Mapping[str, Label] | None = None,
) -> None:
    """Write the tidy table of a study, and the companions of the neuron figures, into the folder `out`.

    Any part of a study's files is enough, so that a running study can be inspected.

    `results.parquet` and `results.csv` have one row per number. `metrics.csv` has the meaning of every metric: one
    row per metric and measure, by the measure's name in the study. `overlap.csv` has the Jaccard index of the
    neurons that two methods keep in a layer and, if scores tell the layer's width, the index that two random
    choices of the same sizes would have. `rank_correlation.csv` has Spearman's correlation of the scores of two
    methods in a layer, and of each method's scores with the effect of ablating a neuron (method `ablation`), over
    the ablated neurons. `score_quantiles.csv` has quantiles of a layer's scores, divided by their mean.
    `neurons.parquet` has all scores of each model's middle layer, under the first seed, divided by their mean.
    `distributions.parquet` has the items of the first measure `distributions`, with their `model`.
    `calibration.csv` has the agreement of two halves of the sequences that a criterion has read (`Tally.mark`), by
    their number.
    `learning.csv` has the learning curve of every recovery (`hfprune.analysis.learning`).
    `labels.csv` has the label and colour of every method of the study.
    `provenance.json` has every commit, set of package versions and machine behind the results.

    Args:
        results: JSON files of `hfprune.results.write_result`.
        scores: `…/scores/<model>/<method>/seed<k>.safetensors`, with one score per neuron as `mlp.<layer>`.
        plans: `…/plans/<model>/<method>/<ratio>/seed<k>.safetensors`, with the kept indices as `mlp.<layer>`.
        out: folder, created if missing.
        declarations: those of the study's measures; by default those of their classes without settings.
        labels: `hfprune.study.labels.labels` of the study.

    Raises:
        HfpruneError: a file is incomplete or misplaced, or two results give the same number.
    """
    table = _tidy(results)
    declared = declarations or default_declarations(table["measure"])
    scored: ScoresByLayer = {}
    for path in sorted(scores):
        model, method, seed = _identity(path, _SCORES)
        scored[model, method, int(seed)] = read_layers(path)
    kept: PlansByLayer = {}
    for path in sorted(plans):
        model, method, ratio, seed = _identity(path, _PLANS)
        kept.setdefault((model, float(ratio), int(seed)), {})[method] = read_layers(path)

    _write_parquet(table, out / RESULTS)
    _write_csv(table, out / RESULTS_CSV)
    _write_csv(declared.table(), out / METRICS_CSV)
    _write_csv(overlaps(kept, scored), out / OVERLAP)
    _write_csv(rank_correlations(scored, _damages(results, declared.of_kind(ABLATION))), out / RANKS)
    _write_csv(quantiles(scored), out / QUANTILES)
    _write_parquet(middle_layers(scored), out / NEURON_SCORES)
    _write_parquet(_distributions(results, declared.first(DISTRIBUTIONS)), out / TOKEN_DISTRIBUTIONS)
    _write_csv(_marks(results), out / CALIBRATION)
    _write_csv(learning_curves(map(read_result, sorted(results))), out / LEARNING)
    _write_csv(label_table(labels or {}), out / LABELS)
    write_json(out / PROVENANCE, _provenance(results))


def label_table(labels: Mapping[str, Label]) -> pd.DataFrame:
    """Return the rows of `labels.csv`."""
    rows = [(method, *label) for method, label in labels.items()]
    return pd.DataFrame(rows, columns=["method", *Label._fields])


def _tidy(paths: Iterable[Path]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    origins: dict[tuple, Path] = {}
    for path in sorted(paths):
        result = _read(path)
        for value in result.values:
            row = {**asdict(result.cell), "measure": result.measure, "task": result.task, **asdict(value)}
            key = tuple(row[column] for column in KEY)
            if key in origins:
                raise HfpruneError(
                    f"{path}: gives {value.metric} of the same cell, measure and task as {origins[key]}; "
                    "delete one of the two"
                )
            origins[key] = path
            rows.append(row)
    return pd.DataFrame(rows, columns=[*DTYPES]).astype(DTYPES).sort_values(KEY, ignore_index=True)


def _read(path: Path) -> _Result:
    try:
        return _RESULT.validate_python(read_result(path))
    except (OSError, ValueError) as error:
        raise HfpruneError(
            f"{path}: not a complete result ({brief(error)}); delete it and measure again"
        ) from error


def _identity(path: Path, shape: str) -> tuple[str, ...]:
    """Return the values of the placeholders of `shape` at the end of `path`."""
    pattern = re.sub(r"<\w+>", lambda part: _NUMBERS.get(part[0], "([^/]+)"), shape)
    match = re.search(rf"(?:^|/){pattern}$", path.as_posix())
    if match is None:
        raise HfpruneError(f"{path}: the path does not say whose file this is; put it at …/{shape}")
    return match.groups()


def _damages(paths: Iterable[Path], measures: list[str]) -> dict[tuple[str, int], pd.Series]:
    """Return (model, layer) → the effect of ablating each neuron that the result files have."""
    found = {}
    for path in sorted(paths):
        result = read_result(path)
        if result["measure"] in measures:
            items = pd.read_parquet(path.with_suffix(".parquet")).set_index("neuron")
            for layer, group in items.groupby("layer"):
                found[result["cell"]["model"], layer] = group["damage"]
    return found


def _marks(paths: Iterable[Path]) -> pd.DataFrame:
    """Return one row per mark of every scoring, from the result files of costs.

    `criterion` names the criterion, the options that differ among the scorings, and the steps where the method has
    several (the marks are of the first), `allocation` the rule of the method's plans.
    """
    read = [*map(read_result, sorted(paths))]
    found = [result for result in read if result["measure"] == "cost"]
    scorings = [result for result in found if _curve(result["provenance"])]
    cut = {
        (size["cell"]["model"], size["cell"]["method"]): size["provenance"]["settings"]
        for size in read
        if size["measure"] == "size" and "allocation" in size["provenance"].get("settings", {})
    }  # baselines have no allocation
    options = [result["provenance"]["settings"].get("options", {}) for result in scorings]
    values: dict[str, set] = {}
    for key, value in ((key, value) for own in options for key, value in own.items()):
        values.setdefault(key, set()).add(str(value))
    rows = []
    for result, own in zip(scorings, options, strict=True):
        made = result["provenance"]
        settings = made["settings"]
        differing = (f"{key} {own[key]}" for key in sorted(own) if len(values[key]) > 1)
        of = {key: result["cell"][key] for key in ("model", "method", "seed")}
        plan = cut.get((of["model"], of["method"]), {})
        steps = plan.get("scoring", {}).get("steps")
        several = [f"{steps} steps"] if steps else []
        of |= {"criterion": ", ".join([settings["criterion"], *differing, *several])}
        of |= {"units": _units(settings), "corpus": settings.get("corpus") or "unknown"}
        of["allocation"] = plan.get("allocation", {}).get("rule", "unknown")
        for mark in _curve(made):
            rows.append({**of, **{key: mark[key] for key in ("sequences", "agreement", "successive")}})
    return pd.DataFrame(rows, columns=COMPANION_COLUMNS[CALIBRATION])


def _curve(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the marks of a scoring; older results have them in the curve of a sweep."""
    before = [{**mark, **mark["criteria"][0]} for mark in made.get("curves", {}).get("sweep", [])]
    return made.get("curve") or before


def _units(settings: dict[str, Any]) -> str:
    """Return the kinds of units that were scored; older results call the setting `parts`."""
    units = settings.get("units") or settings.get("parts") or "unknown"
    return units if isinstance(units, str) else ", ".join(units)


def _provenance(paths: Iterable[Path]) -> dict[str, Any]:
    made = [read_result(path)["provenance"] for path in sorted(paths)]
    found: dict[str, Any] = {}
    for key in ("hfprune", "git", "packages", "hardware"):
        values = [one[key] for one in made if key in one]
        found[key] = [value for i, value in enumerate(values) if value not in values[:i]]
    started = sorted(one["started"] for one in made if "started" in one)
    return found | {"first_started": started[:1], "last_started": started[-1:]}


def _distributions(paths: Iterable[Path], measure: str) -> pd.DataFrame:
    """Return the items of a measure of next-token distributions, with their model."""
    found = [(path, read_result(path)) for path in sorted(paths)]
    tables = [
        pd.read_parquet(path.with_suffix(".parquet")).assign(model=result["cell"]["model"])
        for path, result in found
        if result["measure"] == measure
    ]
    return pd.concat(
        tables or [pd.DataFrame(columns=COMPANION_COLUMNS[TOKEN_DISTRIBUTIONS])], ignore_index=True
    )


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    table.attrs = {}  # pandas copies these from the first of the tables
    with atomic_file(path) as temporary:
        table.to_parquet(temporary, index=False)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
