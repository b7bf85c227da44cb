"""Agreement of methods on the neurons to keep, and the distribution of a layer's scores."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hfprune.analysis.tidy import COMPANION_COLUMNS, NEURON_SCORES, OVERLAP, QUANTILES, RANKS, brief
from hfprune.errors import HfpruneError

ABLATION = "ablation"  # the measure, and the name of its effect among the methods of rank correlations
QUANTILE_LEVELS = np.linspace(0, 1, 21).round(2)

ByLayer = dict[int, np.ndarray]
ScoresByLayer = dict[tuple[str, str, int], ByLayer]  # (model, method, seed)
PlansByLayer = dict[tuple[str, float, int], dict[str, ByLayer]]  # (model, ratio, seed) → method


def read_layers(path: Path) -> ByLayer:
    """Return the neurons' tensors by layer; other units are too few for an overlap or a distribution."""
    try:
        tensors = load_file(path)
        return {
            int(name.removeprefix("mlp.")): tensor
            for name, tensor in tensors.items()
            if name.startswith("mlp.")
        }
    except (OSError, ValueError, SafetensorError) as error:
        raise HfpruneError(
            f"{path}: not a safetensors file of mlp.<layer> tensors ({brief(error)}); delete it and make it again"
        ) from error


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
    """Return quantiles of each layer's scores over the layer's mean."""
    rows = [
        (model, seed, method, layer, level, score)
        for (model, method, seed), layers in sorted(scored.items())
        for layer, scores in sorted(layers.items())
        for level, score in zip(
            QUANTILE_LEVELS, np.quantile(scores / scores.mean(), QUANTILE_LEVELS), strict=True
        )
    ]
    return pd.DataFrame(rows, columns=COMPANION_COLUMNS[QUANTILES])


def middle_layers(scored: ScoresByLayer) -> pd.DataFrame:
    """Return the scores of each model's middle layer, for one seed, since neurons are compared one by one."""
    parts = [pd.DataFrame(columns=COMPANION_COLUMNS[NEURON_SCORES])]
    first = {(model, method): seed for model, method, seed in sorted(scored, reverse=True)}
    for (model, method), seed in sorted(first.items()):
        layers = scored[model, method, seed]
        if not layers:  # the method scores whole layers only
            continue
        layer = sorted(layers)[len(layers) // 2]
        scores = layers[layer] / layers[layer].mean()
        labels = {"model": model, "method": method, "layer": layer}
        parts.append(pd.DataFrame({**labels, "neuron": np.arange(len(scores)), "score": scores}))
    return pd.concat(parts[len(parts) > 1 :], ignore_index=True)
