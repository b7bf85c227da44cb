"""Result files → one tidy table; scores and plans → the tables behind the neuron figures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from hfprune.analysis.declarations import Declarations
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
    write_csv,
)
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import atomic_file, write_json
from hfprune.results import Cell, Value, read_result
from hfprune.study import layout
from hfprune.study.labels import Label

DISTRIBUTIONS = "distributions"  # the measure whose items a figure shows
_NUMBERS = {"ratio": r"(\d*\.?\d+)", "seed": r"(-?\d+)"}


@dataclass(frozen=True)
class _Result:
    cell: Cell
    measure: str
    task: str
    values: list[Value]
    provenance: dict[str, Any]


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

    Args:
        results: JSON files of `hfprune.results.write_result`.
        scores: files at `hfprune.study.layout.SCORES`, with one score per neuron as `mlp.<layer>`.
        plans: files at `hfprune.study.layout.PLAN`, with the kept indices as `mlp.<layer>`.
        out: folder, created if missing.
        declarations: those of the study's measures.
        labels: `hfprune.study.labels.labels` of the study.

    Raises:
        HfpruneError: a file is incomplete or misplaced, or two results give the same number.
    """
    read = {path: _read(path) for path in sorted(results)}
    table, declared = _tidy(read), declarations or Declarations(())
    scored: ScoresByLayer = {}
    for path in sorted(scores):
        model, method, seed = _identity(path, layout.SCORES)
        scored[model, method, int(seed)] = read_layers(path)
    kept: PlansByLayer = {}
    for path in sorted(plans):
        model, method, ratio, seed = _identity(path, layout.PLAN)
        kept.setdefault((model, float(ratio), int(seed)), {})[method] = read_layers(path)
    tables = {
        RESULTS: table,
        RESULTS_CSV: table,
        METRICS_CSV: declared.table(),
        OVERLAP: overlaps(kept, scored),
        RANKS: rank_correlations(scored, _damages(read, declared.of_kind(ABLATION))),
        QUANTILES: quantiles(scored),
        NEURON_SCORES: middle_layers(scored),
        TOKEN_DISTRIBUTIONS: _distributions(read, declared.first(DISTRIBUTIONS)),
        CALIBRATION: _marks([*read.values()]),
        LEARNING: learning_curves(read.values()),
        LABELS: pd.DataFrame(
            [(method, *label) for method, label in (labels or {}).items()], columns=["method", *Label._fields]
        ),
    }
    # Nothing is written before everything is read.
    for name, rows in tables.items():
        if name.endswith(".csv"):
            write_csv(rows, out / name)
            continue
        rows.attrs = {}  # pandas copies these from the first of the tables
        with atomic_file(out / name) as temporary:
            rows.to_parquet(temporary, index=False)
    write_json(out / PROVENANCE, _provenance([result["provenance"] for result in read.values()]))


def _read(path: Path) -> dict[str, Any]:
    text = f"{path}: not a complete result ({REASON}); delete it and measure again"
    with explained(text, OSError, ValueError):
        result = read_result(path)
        _RESULT.validate_python(result)
    return result


def _tidy(read: Mapping[Path, dict[str, Any]]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    origins: dict[tuple, Path] = {}
    for path, result in read.items():
        for value in result["values"]:
            row = {**result["cell"], "measure": result["measure"], "task": result["task"], **value}
            first = origins.setdefault(tuple(row[column] for column in KEY), path)
            if first != path:
                raise HfpruneError(
                    f"{path}: gives {value['metric']} of the same cell, measure and task as {first}; "
                    "delete one of the two"
                )
            rows.append(row)
    return pd.DataFrame(rows, columns=[*DTYPES]).astype(DTYPES).sort_values(KEY, ignore_index=True)


def _identity(path: Path, pattern: str) -> tuple[str, ...]:
    """Return the values of the placeholders of a pattern of the layout at the end of `path`."""
    shape = f"{pattern}.safetensors"
    expected = re.sub(r"{(\w+)}", lambda part: _NUMBERS.get(part[1], "([^/]+)"), shape)
    match = re.search(rf"(?:^|/){expected}$", path.as_posix())
    if match is None:
        raise HfpruneError(f"{path}: the path does not say whose file this is; put it at …/{shape}")
    return match.groups()


def _damages(read: Mapping[Path, dict[str, Any]], measures: list[str]) -> dict[tuple[str, int], pd.Series]:
    """Return (model, layer) → the effect of ablating each neuron that the result files have."""
    return {
        (result["cell"]["model"], layer): group["damage"]
        for path, result in read.items()
        if result["measure"] in measures
        for layer, group in _read_items(path.with_suffix(".parquet")).set_index("neuron").groupby("layer")
    }


def _marks(results: list[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per mark of every scoring, from the result files of costs.

    `criterion` names the criterion, the options that differ among the scorings, and the steps where the method has
    several (the marks are of the first), `allocation` the rule of the method's plans.
    """
    cut = {
        (result["cell"]["model"], result["cell"]["method"]): result["provenance"].get("settings", {})
        for result in results
        if result["measure"] == "size"
    }
    scorings = [x for x in results if x["measure"] == "cost" and x["provenance"].get("curve")]
    options = [x["provenance"]["settings"].get("options", {}) for x in scorings]
    counts = pd.DataFrame([{key: str(value) for key, value in own.items()} for own in options]).nunique()
    rows = []
    for scoring, own in zip(scorings, options, strict=True):
        of = {key: scoring["cell"][key] for key in ("model", "method", "seed")}
        settings, plan = scoring["provenance"]["settings"], cut.get((of["model"], of["method"]), {})
        differing = [f"{key} {own[key]}" for key in sorted(own) if counts[key] > 1]
        steps = plan.get("scoring", {}).get("steps")
        of |= {
            "criterion": ", ".join(
                [settings["criterion"], *differing, *([f"{steps} steps"] if steps else [])]
            ),
            "units": ", ".join(settings["units"]),
            "corpus": settings["corpus"],
            "allocation": plan.get("allocation", {}).get("rule", "unknown"),  # baselines have none
        }
        for mark in scoring["provenance"]["curve"]:
            rows.append({**of, **{key: mark[key] for key in ("sequences", "agreement", "successive")}})
    return pd.DataFrame(rows, columns=COMPANION_COLUMNS[CALIBRATION])


def _provenance(made: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("hfprune", "git", "packages", "hardware"):
        values = [one[key] for one in made if key in one]
        found[key] = [value for i, value in enumerate(values) if value not in values[:i]]
    started = sorted(one["started"] for one in made if "started" in one)
    return found | {"first_started": started[:1], "last_started": started[-1:]}


def _distributions(results: Mapping[Path, dict[str, Any]], measure: str) -> pd.DataFrame:
    """Return the items of a measure of next-token distributions, with their model."""
    tables = [
        _read_items(path.with_suffix(".parquet")).assign(model=result["cell"]["model"])
        for path, result in results.items()
        if result["measure"] == measure
    ]
    return pd.concat(
        tables or [pd.DataFrame(columns=COMPANION_COLUMNS[TOKEN_DISTRIBUTIONS])], ignore_index=True
    )


def _read_items(path: Path) -> pd.DataFrame:
    with explained(f"{path}: cannot read it ({REASON}); delete it and measure again", OSError, ValueError):
        return pd.read_parquet(path)
