"""Result files → one tidy table; scores and plans → what the neuron figures need."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hfprune import layout
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file, write_json
from hfprune.results import Cell, Value, read_result

RESULTS, RESULTS_CSV, OVERLAP, RANKS, QUANTILES, NEURONS, DISTRIBUTIONS, CALIBRATION, PROVENANCE = layout.TIDY
ABLATION = "ablation"  # the measure, and the method that stands for it among rank correlations
# Made from these by `hfprune.analysis.verdicts` and `hfprune.analysis.comparison`.
CLAIMS, COMPARISON = "claims.csv", "comparison.csv"

CELL = ["study", "model", "method", "ratio", "seed", "recovery"]
KEY = [*CELL, "measure", "task", "metric"]
DTYPES = {
    **dict.fromkeys(KEY, "str"),
    **{"ratio": "float64", "seed": "int64", "value": "float64", "stderr": "float64", "n": "Int64"},
}
LEVELS = np.linspace(0, 1, 21).round(2)

_SCORES = "scores/<model>/<method>/seed<k>.safetensors"
_PLANS = "plans/<model>/<method>/<ratio>/seed<k>.safetensors"
_NUMBERS = {"<ratio>": r"(\d*\.?\d+)", "<k>": r"(-?\d+)"}

Layers = dict[int, np.ndarray]
Scores = dict[tuple[str, str, int], Layers]  # (model, method, seed)
Plans = dict[tuple[str, float, int], dict[str, Layers]]  # (model, ratio, seed) → method


@dataclass(frozen=True)
class _Result:
    cell: Cell
    measure: str
    task: str
    values: list[Value]


_RESULT = TypeAdapter(_Result)


def collect(
    results: list[Path], scores: list[Path], plans: list[Path], out: Path, distributions: Iterable[Path] = ()
) -> None:
    """Write the tidy table of a study, and the companions of the neuron figures, into the folder `out`.

    Any part of a study's files will do, so that a running study can be looked at.

    `results.parquet` and `results.csv` have one row per number. `overlap.csv` has the Jaccard index of the
    neurons that two methods keep in a layer and, where scores tell how wide the layer is, the index that two
    random choices of the same sizes would have. `rank_correlation.csv` has Spearman's correlation of the scores of
    two methods in a layer, and of each method's scores with what ablating a neuron does (method `ablation`), over
    the neurons that were ablated. `score_quantiles.csv` has quantiles of a layer's scores, divided
    by their mean. `neurons.parquet` has all scores of each model's middle layer, under the first seed, divided by
    their mean. `distributions.parquet` has the rows of `distributions`, with their `model`. `calibration.csv` has
    what scoring learnt on the way: by sequences read, how far halves of them agree (`hfprune.tally.Tally.mark`).
    `provenance.json` has what made all the results: every commit, set of package versions and machine among them.

    Args:
        results: JSON files of `hfprune.results.write_result`.
        scores: `…/scores/<model>/<method>/seed<k>.safetensors`, with one score per neuron as `mlp.<layer>`.
        plans: `…/plans/<model>/<method>/<ratio>/seed<k>.safetensors`, with the kept indices as `mlp.<layer>`.
        out: created where missing.
        distributions: `…/distributions/<model>.parquet` of `hfprune.evaluation.distributions`.

    Raises:
        HfpruneError: a file is incomplete or not where it belongs, or two results give the same number.
    """
    table = _tidy(results)
    scored: Scores = {}
    for path in sorted(scores):
        model, method, seed = _identity(path, _SCORES)
        scored[model, method, int(seed)] = read_layers(path)
    kept: Plans = {}
    for path in sorted(plans):
        model, method, ratio, seed = _identity(path, _PLANS)
        kept.setdefault((model, float(ratio), int(seed)), {})[method] = read_layers(path)

    seen = _distributions(distributions)
    _write_parquet(table, out / RESULTS)
    _write_csv(table, out / RESULTS_CSV)
    _write_csv(_overlaps(kept, scored), out / OVERLAP)
    _write_csv(_rank_correlations(scored, _damages(results)), out / RANKS)
    _write_csv(_quantiles(scored), out / QUANTILES)
    _write_parquet(_neurons(scored), out / NEURONS)
    _write_parquet(seen, out / DISTRIBUTIONS)
    _write_csv(_marks(results), out / CALIBRATION)
    write_json(out / PROVENANCE, _provenance(results))


def read_collected(path: Path) -> pd.DataFrame:
    """Read one of the tables that `collect` wrote.

    Raises:
        HfpruneError: it is not there or cannot be read.
    """
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise HfpruneError(
            f"{path}: cannot read it ({_brief(error)}); run `hfprune collect` first"
        ) from error


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
            f"{path}: not a complete result ({_brief(error)}); delete it and measure again"
        ) from error


def _identity(path: Path, shape: str) -> tuple[str, ...]:
    """Return what stands in the placeholders of `shape` at the end of `path`."""
    pattern = re.sub(r"<\w+>", lambda part: _NUMBERS.get(part[0], "([^/]+)"), shape)
    match = re.search(rf"(?:^|/){pattern}$", path.as_posix())
    if match is None:
        raise HfpruneError(f"{path}: cannot tell whose it is; put it at …/{shape}")
    return match.groups()


def read_layers(path: Path) -> Layers:
    """Return the MLP's tensors by layer; key-value groups are too few for an overlap or a distribution."""
    try:
        tensors = load_file(path)
        return {
            int(name.removeprefix("mlp.")): tensor
            for name, tensor in tensors.items()
            if not name.startswith("attention.")
        }
    except (OSError, ValueError, SafetensorError) as error:
        raise HfpruneError(
            f"{path}: not a safetensors file of mlp.<layer> tensors ({_brief(error)}); delete it and make it again"
        ) from error


def _overlaps(plans: Plans, scored: Scores) -> pd.DataFrame:
    widths = {
        (model, layer): len(scores)
        for (model, _, _), layers in scored.items()
        for layer, scores in layers.items()
    }
    rows = []
    for (model, ratio, seed), methods in sorted(plans.items()):
        for a, b in combinations(sorted(methods), 2):
            for layer in sorted(methods[a].keys() & methods[b].keys()):
                kept = methods[a][layer], methods[b][layer]
                chance = _by_chance(len(kept[0]), len(kept[1]), widths.get((model, layer)))
                rows.append((model, seed, ratio, layer, a, b, jaccard(*kept), chance))
    columns = ["model", "seed", "ratio", "layer", "method_a", "method_b", "jaccard", "expected"]
    return pd.DataFrame(rows, columns=columns)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Jaccard index of two sets of indices."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def _by_chance(a: int, b: int, width: int | None) -> float:
    """Return the Jaccard index of random sets of these sizes among `width` neurons."""
    if not width:
        return np.nan
    # The index at the mean size of the random intersection; its true mean differs by less than 1/width.
    both = a * b / width
    return both / (a + b - both)


def _damages(paths: Iterable[Path]) -> dict[tuple[str, int], pd.Series]:
    """Return model and layer → what ablating a neuron does, of the neurons that the result files have."""
    found = {}
    for path in sorted(paths):
        result = read_result(path)
        if result["measure"] == ABLATION:
            items = pd.read_parquet(path.with_suffix(".parquet")).set_index("neuron")
            for layer, group in items.groupby("layer"):
                found[result["cell"]["model"], layer] = group["damage"]
    return found


def _rank_correlations(scored: Scores, damages: dict[tuple[str, int], pd.Series]) -> pd.DataFrame:
    groups: dict[tuple[str, int, int], dict[str, np.ndarray]] = {}
    for (model, method, seed), layers in scored.items():
        for layer, scores in layers.items():
            groups.setdefault((model, seed, layer), {})[method] = scores
    rows = []
    for key, methods in sorted(groups.items()):
        scores = pd.DataFrame({method: methods[method] for method in sorted(methods)})
        found = scores.corr("spearman")
        for a, b in combinations(scores, 2):
            rows.append((*key, a, b, found.loc[a, b], len(scores)))
        model, _, layer = key
        if (model, layer) in damages:
            ablated = damages[model, layer]
            for method, value in scores.loc[ablated.index].corrwith(ablated, method="spearman").items():
                rows.append((*key, method, ABLATION, value, len(ablated)))
    columns = ["model", "seed", "layer", "method_a", "method_b", "spearman", "neurons"]
    return pd.DataFrame(rows, columns=columns)


def _quantiles(scored: Scores) -> pd.DataFrame:
    rows = [
        (model, seed, method, layer, level, score)
        for (model, method, seed), layers in sorted(scored.items())
        for layer, scores in sorted(layers.items())
        for level, score in zip(LEVELS, np.quantile(scores / scores.mean(), LEVELS), strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "method", "layer", "quantile", "score"])


def _neurons(scored: Scores) -> pd.DataFrame:
    """Return the scores of each model's middle layer; those of one seed, as neurons are compared one by one."""
    parts = [pd.DataFrame(columns=["model", "method", "layer", "neuron", "score"])]
    first = {(model, method): seed for model, method, seed in sorted(scored, reverse=True)}
    for (model, method), seed in sorted(first.items()):
        layers = scored[model, method, seed]
        layer = sorted(layers)[len(layers) // 2]
        scores = layers[layer] / layers[layer].mean()
        labels = {"model": model, "method": method, "layer": layer}
        parts.append(pd.DataFrame({**labels, "neuron": np.arange(len(scores)), "score": scores}))
    return pd.concat(parts[len(parts) > 1 :], ignore_index=True)


def _marks(paths: Iterable[Path]) -> pd.DataFrame:
    """Return one row per mark of every scoring, from the costs among result files.

    `criterion` names the criterion with those of its options that the scorings differ in, `allocation` the rule of
    the method's plans.
    """
    read = [*map(read_result, sorted(paths))]
    found = [result for result in read if result["measure"] == "cost"]
    scorings = [result for result in found if "sweep" in result["provenance"].get("curves", {})]
    sizes = [result for result in read if result["measure"] == "size"]
    rules = {
        (size["cell"]["model"], size["cell"]["method"]): size["provenance"]["settings"]["allocation"]["rule"]
        for size in sizes
        if "allocation" in size["provenance"].get("settings", {})  # baselines have none
    }
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
        of |= {"criterion": ", ".join([settings["criterion"], *differing])}
        of |= {key: settings.get(key) or "unknown" for key in ("parts", "corpus")}
        of["allocation"] = rules.get((of["model"], of["method"]), "unknown")
        for mark in made["curves"]["sweep"]:
            agreed = {key: mark["criteria"][0][key] for key in ("agreement", "successive")}
            rows.append({**of, "sequences": mark["sequences"], **agreed})
    columns = ["model", "method", "seed", "criterion", "parts", "corpus", "allocation"]
    return pd.DataFrame(rows, columns=[*columns, "sequences", "agreement", "successive"])


def _provenance(paths: Iterable[Path]) -> dict[str, Any]:
    made = [read_result(path)["provenance"] for path in sorted(paths)]
    found: dict[str, Any] = {}
    for key in ("hfprune", "git", "packages", "hardware"):
        values = [one[key] for one in made if key in one]
        found[key] = [value for i, value in enumerate(values) if value not in values[:i]]
    started = sorted(one["started"] for one in made if "started" in one)
    return found | {"first_started": started[:1], "last_started": started[-1:]}


def _distributions(paths: Iterable[Path]) -> pd.DataFrame:
    tables = [pd.DataFrame(columns=["model", "level"])]
    for path in sorted(paths):
        try:
            tables.append(pd.read_parquet(path).assign(model=path.stem))
        except (OSError, ValueError) as error:
            raise HfpruneError(
                f"{path}: cannot read it ({_brief(error)}); delete it and make it again"
            ) from error
    return pd.concat(tables[len(tables) > 1 :], ignore_index=True)


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    table.attrs = {}  # what pandas took over from the first of the tables
    with atomic_file(path) as temporary:
        table.to_parquet(temporary, index=False)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _brief(error: Exception) -> str:
    """Return the gist of an error in one line; pydantic's own message takes several."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())
