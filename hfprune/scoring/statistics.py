"""Running statistics of a sweep, in folds; two halves show how well the calibration determines the plan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfprune.scoring.folds import FOLDS, KEPT_FRACTION, resample
from hfprune.scoring.scores import Scores

# The progress of one criterion in a sweep, one entry per mark: `sequences` and the values of `Statistics.mark`.
Curve = list[dict[str, Any]]


def _itself(_key: str, statistic: Tensor) -> Tensor:
    return statistic


@dataclass
class Statistics:
    """The statistics of one criterion by fold and key; by default sums, which are also the scores."""

    keys: Sequence[str]
    """The keys in the order of the scores; a backward pass reaches them in another order."""
    combine: Callable[[Tensor], Tensor] | None = None
    """Combines the statistics of several sequences or folds [n, ...] into one [...]; None adds them."""
    finish: Callable[[str, Tensor], Tensor] = _itself
    """Makes the scores [units] of a key from its statistic."""
    dtype: torch.dtype = torch.float64
    """Dtype of the statistics."""
    in_bfloat16: bool = False
    """Whether scores come from one sum in bfloat16, as in the official script, instead of the folds."""
    fold_of: Sequence[int] | None = None
    """The fold of each sequence, by its number; by default the sequences are dealt to the folds in turn."""
    folds: list[dict[str, Tensor]] = field(default_factory=lambda: [{} for _ in range(FOLDS)])
    """The statistics of each fold; the even ones are one half of the calibration, the odd ones the other."""
    official: dict[str, Tensor] = field(default_factory=dict)
    """The bfloat16 sum by key."""
    previous: Scores = field(default_factory=dict)
    """The scores at the last mark."""

    def add(self, key: str, rows: Tensor, first: int) -> None:
        """Add the shares [sequences, ...] of consecutive sequences; `first` is the first one's number."""
        homes: dict[int, list[Tensor]] = {}
        # Row by row: a list as an index would be copied to the device, which waits for it.
        for number, row in enumerate(rows, first):
            fold = self.fold_of[number] if self.fold_of else number
            homes.setdefault(fold % len(self.folds), []).append(row)
        for fold, mine in homes.items():
            statistic, share = self.folds[fold], self._combined(mine) if len(mine) > 1 else mine[0]
            if key not in statistic:
                statistic[key] = share.to(self.dtype, copy=True)
            elif self.combine is None:
                statistic[key] += share  # in place, since it may be as large as the weights
            else:
                statistic[key] = self._combined([statistic[key], share.to(self.dtype)])
        if self.in_bfloat16:
            for row in rows.to(torch.bfloat16):
                self.official[key] = self.official[key] + row if key in self.official else row

    def scores(self) -> Scores:
        """Return the float64 scores from all sequences so far."""
        if self.in_bfloat16:
            return self._finished([{key: x.double() for key, x in self.official.items()}])
        return self._finished(self.folds)

    def resampled(self, seed: int, resamples: int) -> list[Scores]:
        """Return the scores from each of so many resampled calibrations (`hfprune.scoring.folds`).

        There are none if a fold is empty: the fewer folds, the less they tell of another draw.
        """
        if len(self.folds) < FOLDS or not all(self.folds):
            return []
        drawn = (resample(range(FOLDS), seed, number) for number in range(1, resamples + 1))
        return [self._finished([self.folds[index] for index in indices]) for indices in drawn]

    def _finished(self, folds: Sequence[Mapping[str, Tensor]]) -> Scores:
        found: Scores = {}
        for key in self.keys:
            if parts := [fold[key] for fold in folds if key in fold]:
                found[key] = self.finish(key, self._combined(parts)).double()
        return found

    def _combined(self, parts: list[Tensor]) -> Tensor:
        stacked = torch.stack(parts)
        return self.combine(stacked) if self.combine else stacked.sum(0)

    def mark(self) -> dict[str, Any]:
        """Measure how well the plan is determined so far, and store the scores for the next mark.

        Returns:
            `agreement`: the share of the units kept by one half that the other half keeps, too, with each
            key cut to `KEPT_FRACTION`; `successive`: the share of the kept units that the scores at the last
            mark keep, too.
        """
        now = self.scores()
        # A half without sequences scores zero; so do the units before the first mark.
        even, odd, previous = (
            {key: scores.get(key, torch.zeros_like(x)) for key, x in now.items()}
            for scores in (self._finished(self.folds[0::2]), self._finished(self.folds[1::2]), self.previous)
        )
        pairs = [(even[key], odd[key]) for key in now] + [(now[key], previous[key]) for key in now]
        shares = overlaps(pairs)
        of_halves, of_marks = shares[: len(now)], shares[len(now) :]
        self.previous = now
        # Weighted by units: a layer's few key-value groups must not count as much as its many neurons.
        weights = [*map(len, now.values())]
        agreement, successive = (float(np.average(x, weights=weights)) for x in (of_halves, of_marks))
        return {"agreement": agreement, "successive": successive}

    def state(self) -> dict[str, Tensor]:
        """Return all statistics by name, for `restore`."""
        return {f"{name}/{key}": x for name, part in self._parts().items() for key, x in part.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the statistics that `state` returned."""
        for name, tensor in state.items():
            part, _, key = name.partition("/")
            self._parts()[part][key] = tensor

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        parts = {f"fold{index}": fold for index, fold in enumerate(self.folds)}
        return parts | {"official": self.official, "previous": self.previous}


def overlaps(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """Return, for pairs of scores each cut to `KEPT_FRACTION`, the share of the one's units that the other keeps.

    All come with a single transfer from the device.
    """
    counts = [max(1, round(KEPT_FRACTION * len(a))) for a, _ in pairs]
    both = []
    for count, pair in zip(counts, pairs, strict=True):
        kept = torch.zeros(len(pair[0]), dtype=torch.int64, device=pair[0].device)
        for scores in pair:
            kept[scores.argsort(descending=True, stable=True)[:count]] += 1
        both.append((kept == 2).sum())
    shared = torch.stack([x.to(both[0].device) for x in both]).tolist()
    return [number / count for number, count in zip(shared, counts, strict=True)]


def marks(total: int) -> list[int]:
    """Return the sequence counts of the marks: 8, each next one larger by half, and finally `total`."""
    found = []
    mark = 8
    while mark < total:
        found.append(mark)
        mark += mark // 2
    return [*found, total]
