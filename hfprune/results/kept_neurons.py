"""Agreement of methods on the neurons to keep."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hfprune.cells import DENSE, Cell
from hfprune.cells.recovery import Recovery
from hfprune.errors import REASON, explained
from hfprune.results.files import AGREEMENT, OF_PAIR
from hfprune.study import cells as study_cells
from hfprune.study import paths
from hfprune.study.calibration import Calibrated
from hfprune.study.reference import reference_of
from hfprune.study.study import Study

NEAR = 0.1  # fraction of a layer's width within which a neuron is near the cut

ByLayer = dict[int, np.ndarray]
ScoresByLayer = dict[Cell, ByLayer]  # by the cell without its ratio
Group = tuple[str, Calibrated, float]  # model, calibration and ratio, within which methods are compared


def read_layers(path: Path) -> ByLayer:
    """Return the tensors of neurons by layer; other units are too few for an overlap."""
    text = f"{path}: not a safetensors file of mlp.<layer> tensors ({REASON}); delete it and make it again"
    with explained(text, OSError, ValueError, SafetensorError):
        tensors = load_file(path)
        return {
            int(name.removeprefix("mlp.")): tensor
            for name, tensor in tensors.items()
            if name.startswith("mlp.")
        }


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Return |a ∩ b| / |a ∪ b| of two vectors of indices of kept neurons, each without repeats."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


class KeptNeurons:
    """The scores and plans of a study's pruned cells without recovery, as far as their files exist."""

    def __init__(self, study: Study, name: str, folder: Path) -> None:
        self._study = study
        self._scores: ScoresByLayer = {}
        self._cut: dict[Cell, ByLayer] = {}
        self._groups: dict[Group, dict[str, list[Cell]]] = {}
        for cell in study_cells.cells(name, study):
            if cell.method == DENSE or cell.recovery is not Recovery.NONE:
                continue
            scores, plan = (
                folder / f"{paths.fill(pattern, cell)}.safetensors" for pattern in (paths.SCORES, paths.PLAN)
            )
            if scores.exists() and _scored(cell) not in self._scores:
                self._scores[_scored(cell)] = read_layers(scores)
            if plan.exists():
                self._cut[cell] = read_layers(plan)
            for calibrated in study.calibrated(cell.model):
                if study_cells.compared_within(study, calibrated, cell):
                    group = self._groups.setdefault((cell.model, calibrated, cell.cut_at), {})
                    group.setdefault(cell.method, []).append(cell)

    def with_reference(self) -> pd.DataFrame:
        """Return the columns `OF_PAIR` and `AGREEMENT` of every method without recovery beside its reference.

        A row without a draw is the mean over draws. A row with a draw compares this draw of a method with the
        method's first, and `reference` is the method itself. Rows without a number are left out.
        """
        rows = [
            {"model": model, **calibrated._asdict(), "ratio": ratio, "method": method} | row
            for (model, calibrated, ratio), methods in self._groups.items()
            for method in methods
            for row in self._rows(method, methods)
        ]
        table = pd.DataFrame(rows, columns=[*OF_PAIR, *AGREEMENT]).astype(dict.fromkeys(AGREEMENT, float))
        return table.astype({"draw": "Int64"}).dropna(subset=AGREEMENT, how="all")

    def _rows(self, method: str, methods: dict[str, list[Cell]]) -> Iterator[dict[str, object]]:
        reference, ours = reference_of(self._study, method), methods[method]
        for cell in ours[1:]:
            yield {"reference": method, "draw": cell.draw, **self._agreement([(cell, ours[0])])}
        if reference != method and reference in methods:
            pairs = [(a, b) for a in ours for b in methods[reference] if a.draw == b.draw]
            yield {"reference": reference, **self._agreement(pairs)}

    def _agreement(self, pairs: list[tuple[Cell, Cell]]) -> dict[str, float]:
        rows = [[pd.Series(values, dtype=float).mean() for values in self._compared(*pair)] for pair in pairs]
        return pd.DataFrame(rows, columns=AGREEMENT, dtype=float).mean().to_dict()

    def _compared(self, a: Cell, b: Cell) -> Iterator[list[float]]:
        """Yield overlaps by layer, rank correlations by layer, and 1 (near both cuts) or 0 by disputed neuron."""
        from scipy.stats import rankdata

        cut = [self._cut.get(cell, {}) for cell in (a, b)]
        ranked = [self._scores.get(_scored(cell), {}) for cell in (a, b)]
        plans, scored = (
            [(left[layer], right[layer]) for layer in left if layer in right] for left, right in (cut, ranked)
        )
        yield [jaccard(*kept) for kept in plans]
        yield [pd.Series(x).corr(pd.Series(y), "spearman") for x, y in scored]
        near: list[float] = []
        for kept, scores in zip(plans, scored, strict=False):
            distances = [np.abs(rankdata(-s) - len(k)) / len(s) for k, s in zip(kept, scores, strict=True)]
            near += (np.maximum(*distances)[np.setxor1d(kept[0], kept[1])] < NEAR).astype(float).tolist()
        yield near


def _scored(cell: Cell) -> Cell:
    """Return the cell of the scores that a plan is cut from, which have no ratio."""
    return replace(cell, ratio=None)
