"""Agreement of methods on the neurons to keep."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hfprune.analysis.reference import reference_of
from hfprune.errors import REASON, explained
from hfprune.results import DENSE, Cell
from hfprune.study import cells as study_cells
from hfprune.study import paths
from hfprune.study.study import Study

NEAR = 0.1  # fraction of a layer's width within which a neuron is near the cut
# The columns of layers.parquet.
OVERLAP = ["model", "seed", "ratio", "layer", "method_a", "method_b", "jaccard", "expected"]
# The columns of neurons.csv: `overlap`, the mean over layers of the Jaccard index of the kept neurons;
# `rank_correlation`, that of Spearman's correlation of the scores; `near_cut`, the share of the disputed neurons,
# which one plan alone keeps, whose ranks by both scores are within `NEAR` of the cut.
OF_PAIR = ["model", "ratio", "method", "reference", "seed"]
AGREEMENT = ["overlap", "rank_correlation", "near_cut"]

ByLayer = dict[int, np.ndarray]
ScoresByLayer = dict[tuple[str, str, int], ByLayer]  # (model, method, seed)
PlansByLayer = dict[tuple[str, float, int], dict[str, ByLayer]]  # (model, ratio, seed) → method


def read_layers(path: Path) -> ByLayer:
    """Return the neurons' tensors by layer; other units are too few for an overlap."""
    text = f"{path}: not a safetensors file of mlp.<layer> tensors ({REASON}); delete it and make it again"
    with explained(text, OSError, ValueError, SafetensorError):
        tensors = load_file(path)
        return {
            int(name.removeprefix("mlp.")): tensor
            for name, tensor in tensors.items()
            if name.startswith("mlp.")
        }


def overlaps(plans: PlansByLayer, scored: ScoresByLayer) -> pd.DataFrame:
    """Return a row of `OVERLAP` for every two methods of a model, ratio and seed, and every layer.

    `jaccard` is that of the neurons that they keep, `expected` that of two random choices of as many; it is
    missing where no scores tell the layer's width.
    """
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
                # By chance: the index at the mean size of the random intersection; its true mean differs by less
                # than 1/width.
                both = len(kept[0]) * len(kept[1]) / widths.get((model, layer), np.nan)
                chance = both / (len(kept[0]) + len(kept[1]) - both)
                rows.append((model, seed, ratio, layer, a, b, jaccard(*kept), chance))
    return pd.DataFrame(rows, columns=OVERLAP)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Return |a ∩ b| / |a ∪ b| of two vectors of kept neurons, each without repeats."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


class KeptNeurons:
    """The scores and plans of a study's pruned cells without recovery, as far as their files are there."""

    def __init__(self, study: Study, name: str, folder: Path) -> None:
        self._study = study
        self._cells = [
            cell
            for cell in study_cells.cells(name, study)
            if cell.method != DENSE and cell.recovery == "none"
        ]
        self._scores: ScoresByLayer = {}
        self._plans: PlansByLayer = {}
        for cell in self._cells:
            scores, plan = (
                folder / f"{paths.fill(pattern, cell)}.safetensors" for pattern in (paths.SCORES, paths.PLAN)
            )
            if scores.exists() and (cell.model, cell.method, cell.seed) not in self._scores:
                self._scores[cell.model, cell.method, cell.seed] = read_layers(scores)
            if plan.exists():
                at = self._plans.setdefault((cell.model, cell.ratio or 0.0, cell.seed), {})
                at[cell.method] = read_layers(plan)

    def by_layer(self) -> pd.DataFrame:
        """Return the `overlaps` of all plans that are there."""
        return overlaps(self._plans, self._scores)

    def with_reference(self) -> pd.DataFrame:
        """Return the columns `OF_PAIR` and `AGREEMENT` of every method without recovery beside its reference.

        A row without a seed is the mean over seeds. One with a seed compares a method's draw with its own first,
        and `reference` is the method itself. Rows without a number are left out.
        """
        groups: dict[tuple[str, float], dict[str, list[Cell]]] = {}
        for cell in self._cells:
            groups.setdefault((cell.model, cell.ratio or 0.0), {}).setdefault(cell.method, []).append(cell)
        rows = [
            {"model": model, "ratio": ratio, "method": method} | row
            for (model, ratio), methods in groups.items()
            for method in methods
            for row in self._rows(method, methods)
        ]
        found = pd.DataFrame(rows, columns=[*OF_PAIR, *AGREEMENT]).astype(dict.fromkeys(AGREEMENT, float))
        return found.astype({"seed": "Int64"}).dropna(subset=AGREEMENT, how="all")

    def _rows(self, method: str, methods: dict[str, list[Cell]]) -> Iterator[dict[str, Any]]:
        reference, ours = reference_of(self._study, method), methods[method]
        for cell in ours[1:]:
            yield {"reference": method, "seed": cell.seed} | self._agreement([(cell, ours[0])])
        if reference != method and reference in methods:
            pairs = [(a, b) for a in ours for b in methods[reference] if a.seed == b.seed]
            yield {"reference": reference} | self._agreement(pairs)

    def _agreement(self, pairs: list[tuple[Cell, Cell]]) -> dict[str, float]:
        rows = [[pd.Series(values, dtype=float).mean() for values in self._of_pair(*pair)] for pair in pairs]
        return pd.DataFrame(rows, columns=AGREEMENT, dtype=float).mean().to_dict()

    def _of_pair(self, a: Cell, b: Cell) -> Iterator[list[float]]:
        """Yield overlaps and rank correlations of layers, and for each disputed neuron 1 (near both cuts) or 0."""
        from scipy.stats import rankdata

        cut = [self._plans.get((x.model, x.ratio or 0.0, x.seed), {}).get(x.method, {}) for x in (a, b)]
        ranked = [self._scores.get((x.model, x.method, x.seed), {}) for x in (a, b)]
        plans, scored = (
            [(ours[layer], theirs[layer]) for layer in ours if layer in theirs]
            for ours, theirs in (cut, ranked)
        )
        yield [jaccard(*kept) for kept in plans]
        yield [pd.Series(x).corr(pd.Series(y), "spearman") for x, y in scored]
        near: list[float] = []
        for kept, scores in zip(plans, scored, strict=False):
            distances = [np.abs(rankdata(-s) - len(k)) / len(s) for k, s in zip(kept, scores, strict=True)]
            near += (np.maximum(*distances)[np.setxor1d(kept[0], kept[1])] < NEAR).astype(float).tolist()
        yield near
