"""One criterion in a pass over the blocks: its statistics by folds of the calibration, and its scores."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfprune.calibration.folds import FOLDS, resample
from hfprune.criteria import SweepCriterion
from hfprune.errors import HfpruneError
from hfprune.models.units import Units
from hfprune.scoring.score_files import Scores
from hfprune.scoring.weight_forms import WEIGHT_FORMS, stacked_weights

# The progress of one criterion in a pass, one entry per mark: see `Scorer.mark`.
Curve = list[dict[str, Any]]
# The fraction of units kept when halves are compared; the paper's ratios lie on both sides of it.
KEPT_FRACTION = 0.5


class Scorer:
    """One criterion, the units that it scores, its statistics of the sequences read so far, and their curve."""

    def __init__(self, criterion: SweepCriterion, units: Mapping[str, Units], fold_of: Sequence[int]) -> None:
        """Start without sequences; `units` has the order of the scores, `fold_of` the fold of each sequence."""
        self.criterion, self.units, self.fold_of = criterion, units, fold_of
        self.kinds = {item.kind for item in units.values()}
        self.form = WEIGHT_FORMS.get(getattr(criterion, "aggregation", ""))
        self.folds: list[dict[str, Tensor]] = [{} for _ in range(2 if self.form else FOLDS)]
        """The statistics of each fold; the even ones are one half of the calibration, the odd ones the other."""
        self.dtype = torch.float32 if getattr(criterion, "sums_per_weight", 0) else torch.float64
        self.in_bfloat16 = getattr(criterion, "accumulator", "") == "bfloat16"
        """Whether scores come from one sum in bfloat16, as in the official script, instead of the folds."""
        self.official: dict[str, Tensor] = {}
        """That sum by key."""
        self.curve: Curve = []
        self._layers: dict[int, Tensor] = {}
        self._totals: list[tuple[int, str, Tensor]] = []

    def add(self, key: str, rows: Tensor, first: int) -> None:
        """Add the shares [sequences, ...] of consecutive sequences; `first` is the first one's number."""
        self._totals.append((first, key, rows.sum(dtype=torch.float64)))
        homes: dict[int, list[Tensor]] = {}
        # Row by row: a list as an index would be copied to the device, which waits for it.
        for number, row in enumerate(rows, first):
            homes.setdefault(self.fold_of[number] % len(self.folds), []).append(row)
        for fold, mine in homes.items():
            statistic, share = self.folds[fold], self._combined(mine) if len(mine) > 1 else mine[0]
            if key not in statistic:
                statistic[key] = share.to(self.dtype, copy=True)
            elif self.form:
                statistic[key] += share  # in place, since it may be as large as the weights
            else:
                statistic[key] = self._combined([statistic[key], share.to(self.dtype)])
        if self.in_bfloat16:
            for row in rows.to(torch.bfloat16):
                self.official[key] = self.official[key] + row if key in self.official else row

    def add_layer(self, layer: int, rows: Tensor) -> None:
        self._layers[layer] = rows

    def flush(self, first: int) -> None:
        """Add the shares of all decoder layers of the batch that begins at sequence `first`."""
        if self._layers:
            last = self._layers[max(self._layers)].device
            rows = [self._layers[layer].to(last) for layer in sorted(self._layers)]
            self.add("layers", torch.stack(rows, 1), first)
            self._layers.clear()

    def check_finite(self) -> None:
        """Check all shares since the last check at once, since each transfer waits for the device.

        Raises:
            HfpruneError: one was not finite; names criterion, key and batch.
        """
        totals, self._totals = self._totals, []
        for (first, key, _), number in zip(totals, _on_host(total for _, _, total in totals), strict=True):
            if not math.isfinite(number):
                raise HfpruneError(
                    f"scores of {type(self.criterion).__name__} are not finite at {key} after the batch at "
                    f"sequence {first}; try another dtype, and check the model with `hfprune measure perplexity`"
                )

    def scores(self) -> Scores:
        """Return the float64 scores from all sequences so far."""
        if self.in_bfloat16:
            return self._finished([{key: x.double() for key, x in self.official.items()}])
        return self._finished(self.folds)

    def resampled(self, seed: int, resamples: int) -> list[Scores]:
        """Return the scores from each of so many resampled calibrations (`hfprune.calibration.folds`).

        There are none if a fold is empty: the fewer folds, the less they tell of another draw.
        """
        if not self.criterion.resampled or not all(self.folds):
            return []
        drawn = (resample(range(FOLDS), seed, number) for number in range(1, resamples + 1))
        return [self._finished([self.folds[index] for index in indices]) for indices in drawn]

    def mark(self, sequences: int) -> None:
        """Add to the curve how well so many sequences determine the plan.

        `agreement` is the share of the units kept by one half that the other half keeps, too, with each key cut to
        `KEPT_FRACTION`.
        """
        now = self.scores()
        # A half without sequences scores zero.
        even, odd = (
            {key: scores.get(key, torch.zeros_like(x)) for key, x in now.items()}
            for scores in (self._finished(self.folds[0::2]), self._finished(self.folds[1::2]))
        )
        shares = overlaps([(even[key], odd[key]) for key in now])
        # Weighted by units: a layer's few key-value groups must not count as much as its many neurons.
        agreement = float(np.average(shares, weights=[*map(len, now.values())]))
        self.curve.append({"sequences": sequences, "agreement": agreement})

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return all statistics by name and key, to be saved, or filled with what was saved."""
        folds = {f"fold{index}": fold for index, fold in enumerate(self.folds)}
        return folds | {"official": self.official}

    def _finished(self, folds: Sequence[Mapping[str, Tensor]]) -> Scores:
        found: Scores = {}
        for key, units in self.units.items():
            if parts := [fold[key] for fold in folds if key in fold]:
                statistic = self._combined(parts)
                if self.form:
                    statistic = self.form.finish(stacked_weights(units), statistic)
                found[key] = self.criterion.finish(units, statistic).double()
        return found

    def _combined(self, parts: list[Tensor]) -> Tensor:
        stacked = torch.stack(parts)
        return stacked.sum(0) if self.form else self.criterion.combine(stacked)


def overlaps(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """Return the share of units that both scores of each pair keep, when cut to `KEPT_FRACTION`."""
    counts = [max(1, round(KEPT_FRACTION * len(a))) for a, _ in pairs]
    both = []
    for count, pair in zip(counts, pairs, strict=True):
        kept = torch.zeros(len(pair[0]), dtype=torch.int64, device=pair[0].device)
        for scores in pair:
            kept[scores.argsort(descending=True, stable=True)[:count]] += 1
        both.append((kept == 2).sum())
    return [number / count for number, count in zip(_on_host(both), counts, strict=True)]


def _on_host(numbers: Iterable[Tensor]) -> list[float]:
    """Return numbers that may lie on several devices, with a single transfer."""
    first, *others = numbers
    return torch.stack([first, *(x.to(first.device) for x in others)]).tolist()
