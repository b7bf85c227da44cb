"""Agreement of methods on the neurons to keep, and the distribution of a layer's scores."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hfprune.analysis.outcomes import Contrast
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.analysis.tidy import (
    COMPANION_COLUMNS,
    NEURON_SCORES,
    OVERLAP,
    QUANTILES,
    RANKS,
    read_companion,
)
from hfprune.errors import REASON, explained
from hfprune.results import Cell
from hfprune.study import layout

ABLATION = "ablation"  # the measure, and the name of its effect among the methods of rank correlations
QUANTILE_LEVELS = np.linspace(0, 1, 21).round(2)
NEAR = 0.1  # fraction of a layer's width within which a neuron is near the cut

ByLayer = dict[int, np.ndarray]
ScoresByLayer = dict[tuple[str, str, int], ByLayer]  # (model, method, seed)
PlansByLayer = dict[tuple[str, float, int], dict[str, ByLayer]]  # (model, ratio, seed) → method


def read_layers(path: Path) -> ByLayer:
    """Return the neurons' tensors by layer; other units are too few for an overlap or a distribution."""
    text = f"{path}: not a safetensors file of mlp.<layer> tensors ({REASON}); delete it and make it again"
    with explained(text, OSError, ValueError, SafetensorError):
        tensors = load_file(path)
        return {
            int(name.removeprefix("mlp.")): tensor
            for name, tensor in tensors.items()
            if name.startswith("mlp.")
        }


def overlaps(plans: PlansByLayer, scored: ScoresByLayer) -> pd.DataFrame:
    """Return the overlap of the neurons that two methods keep in a layer, by model, ratio and seed."""
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
    return pd.DataFrame(rows, columns=COMPANION_COLUMNS[OVERLAP])


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


def rank_correlations(scored: ScoresByLayer, damages: dict[tuple[str, int], pd.Series]) -> pd.DataFrame:
    """Return Spearman's correlation of the scores of every pair of methods, and with the effect of ablation.

    `damages` has, for a model and layer, the effect of ablating each neuron, by neuron.
    """
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
    return pd.DataFrame(rows, columns=COMPANION_COLUMNS[RANKS])


def quantiles(scored: ScoresByLayer) -> pd.DataFrame:
    """Return quantiles of each layer's scores over the layer's mean; z-scores, whose mean is zero, have none."""
    rows = [
        (model, seed, method, layer, level, score)
        for (model, method, seed), layers in sorted(scored.items())
        for layer, scores in sorted(layers.items())
        if scores.min() >= 0
        for level, score in zip(
            QUANTILE_LEVELS, np.quantile(scores / scores.mean(), QUANTILE_LEVELS), strict=True
        )
    ]
    return pd.DataFrame(rows, columns=COMPANION_COLUMNS[QUANTILES])


def middle_layers(scored: ScoresByLayer) -> pd.DataFrame:
    """Return the scores of each model's middle layer over their mean, for one seed; z-scores have none."""
    parts = [pd.DataFrame(columns=COMPANION_COLUMNS[NEURON_SCORES])]
    first = {(model, method): seed for model, method, seed in sorted(scored, reverse=True)}
    for (model, method), seed in sorted(first.items()):
        layers = scored[model, method, seed]
        if not layers:  # the method scores whole layers only
            continue
        layer = sorted(layers)[len(layers) // 2]
        if layers[layer].min() < 0:
            continue
        scores = layers[layer] / layers[layer].mean()
        labels = {"model": model, "method": method, "layer": layer}
        parts.append(pd.DataFrame({**labels, "neuron": np.arange(len(scores)), "score": scores}))
    return pd.concat(parts[len(parts) > 1 :], ignore_index=True)


class Neurons:
    """Agreement of a study's cells on the neurons, from their plans and scores; each file is read once."""

    def __init__(self, folder: Path, tidy: Path) -> None:
        """Read the correlations with ablation.

        Args:
            folder: the study's results, with its scores and plans.
            tidy: folder that `hfprune.analysis.collect.collect` wrote to.

        Raises:
            HfpruneError: they cannot be read.
        """
        self._folder = folder
        self._read = cache(lambda path: read_layers(path) if path.exists() else {})
        ranks = read_companion(tidy, RANKS)
        self._ablation = ranks[ranks["method_b"] == ABLATION].rename(columns={"method_a": "method"})

    def agreement(self, pairs: list[tuple[Cell, Cell]]) -> dict[str, float]:
        """Return the columns of `hfprune.analysis.comparison.MethodRow` on two cells, means over layers and pairs.

        Raises:
            HfpruneError: an existing file cannot be read.
        """
        columns: dict[str, Callable[[Cell, Cell], Iterable[float]]] = {
            "overlap": self._overlaps,
            "rank_correlation": self._ranks,
            "near_cut": self._near_cut,
        }
        return {name: nanmean(nanmean(of(*pair)) for pair in pairs) for name, of in columns.items()}

    def ablation_correlation(self, cells: list[Cell]) -> float:
        """Return Spearman's correlation of the scores with the effect of ablating a neuron."""
        found = self._ablation.groupby(["model", "method", "seed"])["spearman"].mean()
        return nanmean(found.get((cell.model, cell.method, cell.seed), np.nan) for cell in cells)

    def ablation_difference(self, method: str, reference: Cell) -> Estimate:
        """Return how much better a method predicts the effect of ablation than the reference, in pairs of layers.

        Both are correlations by layer, means over seeds.
        """
        found = self._ablation[self._ablation["model"] == reference.model]
        by_layer = found.pivot_table("spearman", "layer", "method").reindex(
            columns=[method, reference.method]
        )
        ours, theirs = by_layer.dropna(subset=method).to_numpy().T
        if len(ours) < 2 or np.isnan(theirs).any():
            return Estimate(np.nan)
        return estimate(Contrast({"": (ours - theirs)[None]}, {}, {}, fixed=True))

    def _layers(self, pattern: str, *cells: Cell) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the tensors of all cells for every layer that all cells have."""
        files = [self._read(self._folder / f"{layout.fill(pattern, cell)}.safetensors") for cell in cells]
        for layer in files[0]:
            if all(layer in file for file in files):
                yield tuple(file[layer] for file in files)

    def _overlaps(self, a: Cell, b: Cell) -> Iterator[float]:
        return (jaccard(*kept) for kept in self._layers(layout.PLAN, a, b))

    def _ranks(self, a: Cell, b: Cell) -> Iterator[float]:
        return (pd.Series(x).corr(pd.Series(y), "spearman") for x, y in self._layers(layout.SCORES, a, b))

    def _near_cut(self, a: Cell, b: Cell) -> Iterator[float]:
        """Yield 1 (near both cuts) or 0 for each neuron that only one of the two keeps."""
        from scipy.stats import rankdata

        layers = zip(self._layers(layout.PLAN, a, b), self._layers(layout.SCORES, a, b), strict=False)
        for kept, scores in layers:
            distances = [np.abs(rankdata(-s) - len(k)) / len(s) for k, s in zip(kept, scores, strict=True)]
            yield from (np.maximum(*distances)[np.setxor1d(kept[0], kept[1])] < NEAR).astype(float).tolist()


def nanmean(values: Iterable[float]) -> float:
    """Return the mean of the values that are numbers, or NaN if none is."""
    return pd.Series([*values], dtype=float).mean()
