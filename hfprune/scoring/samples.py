"""One criterion in a pass over the blocks: the statistics of its samples by folds, and their scores."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from hfprune.calibration.folds import FOLDS
from hfprune.criteria import LayerCriterion, SweepCriterion
from hfprune.errors import HfpruneError
from hfprune.models.units import Units
from hfprune.plans.allocation import keep_highest
from hfprune.scoring.score_files import Scores
from hfprune.scoring.weight_forms import WEIGHT_FORMS, stacked_weights


class Mark(TypedDict):
    """How well the first `sequences` determine the plan; see `Sample.mark`."""

    sequences: int
    agreement: float


# The progress of one criterion in a pass.
Curve = list[Mark]
# The fraction of units kept when halves are compared; the paper's ratios lie on both sides of it.
KEPT_FRACTION = 0.5


class Sample:
    """The statistics of one sample of sequences by folds, and its scores once its last sequence is in.

    Once all sequences have reached a place (a key), only its scores are kept, so that consecutive samples of one
    size need the memory of a single sample.
    """

    def __init__(
        self,
        criterion: SweepCriterion,
        units: Mapping[str, Units],
        numbers: range,
        fold_of: Sequence[int],
        resamples: Sequence[Sequence[int]] = (),
    ) -> None:
        """Start without sequences.

        Args:
            criterion: the criterion whose statistics are kept.
            units: units by name, in the order of the scores.
            numbers: numbers of the sample's sequences in the pass.
            fold_of: the fold of each of these sequences.
            resamples: the folds of each resampled calibration to score.
        """
        self.criterion, self.units, self.numbers, self.fold_of = criterion, units, numbers, fold_of
        self.form = WEIGHT_FORMS.get(getattr(criterion, "aggregation", ""))
        self.folds: list[dict[str, Tensor]] = [{} for _ in range(2 if self.form else FOLDS)]
        """The statistics of each fold; the even ones are one half of the sample, the odd ones the other."""
        self.dtype = torch.float32 if getattr(criterion, "sums_per_weight", 0) else torch.float64
        self.in_bfloat16 = getattr(criterion, "accumulator", "") == "bfloat16"
        """Whether scores come from one sum in bfloat16, as in the official script, instead of the folds."""
        self.official: dict[str, Tensor] = {}
        """Sums in bfloat16 by key."""
        self.curve: Curve = []
        self.resampled_folds = resamples if criterion.resampled else ()
        self._scores: Scores = {}
        self._resampled: list[Scores] = [{} for _ in self.resampled_folds]
        self._even: Scores = {}
        """The scores of one half of the sample at the places that all its sequences have reached."""
        self._odd: Scores = {}
        """Those of the other half."""

    def add(self, key: str, rows: Tensor, first: int, shares: dict[tuple[int, ...], Tensor]) -> None:
        """Add the shares of those of some consecutive sequences that belong to the sample.

        Args:
            key: the place.
            rows: shares [sequences, ...].
            first: number of the first sequence.
            shares: combined shares by the indices of their rows, reused by all samples that read these rows.
        """
        start, stop = max(first, self.numbers.start), min(first + len(rows), self.numbers.stop)
        homes: dict[int, list[int]] = {}
        for number in range(start, stop):
            fold = self.fold_of[number - self.numbers.start] % len(self.folds)
            homes.setdefault(fold, []).append(number - first)
        for fold, mine in homes.items():
            # Row by row: a list as an index would be copied to the device, which waits for it.
            if (which := (*mine,)) not in shares:
                share = self._combined([rows[index] for index in mine]) if len(mine) > 1 else rows[mine[0]]
                shares[which] = share.to(self.dtype)
            statistic, share = self.folds[fold], shares[which]
            if key not in statistic:
                statistic[key] = share.clone()
            elif self.form:
                statistic[key] += share  # in place, since it may be as large as the weights
            else:
                statistic[key] = self._combined([statistic[key], share])
        if self.in_bfloat16 and start < stop:
            for row in rows[start - first : stop - first].to(torch.bfloat16):
                self.official[key] = self.official[key] + row if key in self.official else row
        if start < stop == self.numbers.stop:
            self._close(key)

    def _close(self, key: str) -> None:
        """Score a place that all sequences have reached, and drop its statistics."""
        self._even[key], self._odd[key] = self._scores_of_halves(key)
        self._scores[key] = self._scores_so_far(key)
        # None if a fold is empty: fewer folds tell less of another draw.
        if all(key in fold for fold in self.folds):
            for scores, indices in zip(self._resampled, self.resampled_folds, strict=True):
                scores[key] = self._scores_from(key, [self.folds[index] for index in indices])
        for statistics in (*self.folds, self.official):
            statistics.pop(key, None)

    def complete(self) -> None:
        """Add the last mark to the curve, once all places are closed."""
        if self._even and self._even.keys() == self.units.keys():
            halves = {key: (self._even.pop(key), self._odd.pop(key)) for key in self.units}
            self._add_mark(len(self.numbers), halves)

    def mark(self, sequences: int) -> None:
        """Add to the curve how well the first `sequences` determine the plan.

        `agreement` is the share of the units kept by one half that the other half keeps, too, when each key is cut
        to `KEPT_FRACTION`.
        """
        read = [key for key in self.units if any(key in fold for fold in self.folds)]
        self._add_mark(sequences, {key: self._scores_of_halves(key) for key in read})

    def _add_mark(self, sequences: int, halves: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        shares = overlaps([*halves.values()])
        # Weighted by units: a layer's few key-value groups must not count as much as its many neurons.
        agreement = float(np.average(shares, weights=[len(even) for even, _ in halves.values()]))
        self.curve.append({"sequences": sequences, "agreement": agreement})

    def scores(self) -> Scores:
        """Return float64 scores from the sequences so far, for the places that have read any."""
        read = self._scores.keys() | {key for fold in self.folds for key in fold}
        return {
            key: self._scores[key] if key in self._scores else self._scores_so_far(key)
            for key in self.units
            if key in read
        }

    def resampled(self) -> list[Scores]:
        """Return the scores from each resampled calibration; none if a fold is empty."""
        return [{key: scores[key] for key in self.units} for scores in self._resampled if scores]

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return all statistics and scores by name and key, to be saved or restored in place."""
        tensors = {f"fold{index}": fold for index, fold in enumerate(self.folds)}
        tensors |= {f"resampled{index}": scores for index, scores in enumerate(self._resampled)}
        tensors |= {"even": self._even, "odd": self._odd}
        return tensors | {"official": self.official, "scores": self._scores}

    def _scores_so_far(self, key: str) -> Tensor:
        folds = [{key: self.official[key].double()}] if self.in_bfloat16 else self.folds
        return self._scores_from(key, folds)

    def _scores_of_halves(self, key: str) -> tuple[Tensor, Tensor]:
        """Return the scores of the even and of the odd folds; a half without sequences scores zero."""
        even, odd = self.folds[0::2], self.folds[1::2]
        if not any(key in fold for fold in odd):
            scores = self._scores_from(key, even)
            return scores, torch.zeros_like(scores)
        scores = self._scores_from(key, odd)
        if not any(key in fold for fold in even):
            return torch.zeros_like(scores), scores
        return self._scores_from(key, even), scores

    def _scores_from(self, key: str, folds: Iterable[Mapping[str, Tensor]]) -> Tensor:
        statistic = self._combined([fold[key] for fold in folds if key in fold])
        if self.form:
            statistic = self.form.finish(stacked_weights(self.units[key]), statistic)
        return self.criterion.finish(self.units[key], statistic).double()

    def _combined(self, parts: list[Tensor]) -> Tensor:
        stacked = torch.stack(parts)
        return stacked.sum(0) if self.form else self.criterion.combine(stacked)


class Scorer:
    """One criterion, the units that it scores, and the samples of the calibration that it reads."""

    def __init__(
        self, criterion: SweepCriterion, units: Mapping[str, Units], samples: Sequence[Sample]
    ) -> None:
        self.criterion, self.units, self.samples = criterion, units, samples
        self.kinds = {item.kind for item in units.values()}
        self.form = WEIGHT_FORMS.get(getattr(criterion, "aggregation", ""))
        self.layers: dict[int, Tensor] = {}
        """The shares [sequences, ...] of decoder layers, until `flush` adds those of all layers together."""
        self._totals: list[tuple[int, str, Tensor]] = []

    def add(self, key: str, rows: Tensor, first: int) -> None:
        """Add the shares [sequences, ...] of consecutive sequences; `first` is the first one's number."""
        self._totals.append((first, key, rows.sum(dtype=torch.float64)))
        shares: dict[tuple[int, ...], Tensor] = {}
        for sample in self.samples:
            sample.add(key, rows, first, shares)

    def reads(self) -> list[tuple[range, Sequence[Sequence[int]]]]:
        """Return the sequences of every sample, and the folds of its resampled calibrations."""
        return [(sample.numbers, sample.resampled_folds) for sample in self.samples]

    def add_layer(self, layer: int, rows: Tensor) -> None:
        """Keep the shares [sequences] of a decoder layer until `flush` adds those of all layers together."""
        before = [self.layers[layer]] if layer in self.layers else []
        self.layers[layer] = torch.cat([*before, rows])

    def flush(self, first: int) -> None:
        """Add the shares of all decoder layers of the batch that begins at sequence `first`."""
        if self.layers:
            last = self.layers[max(self.layers)].device
            rows = torch.stack([self.layers[layer].to(last) for layer in sorted(self.layers)], 1)
            if isinstance(self.criterion, LayerCriterion):
                rows = self.criterion.together(rows)
            self.add("layers", rows, first)
            self.layers.clear()
        for sample in self.samples:
            sample.complete()

    def check(self, *, partly: bool = False) -> None:
        """Check all shares since the last check at once, since each transfer waits for the device.

        Some layers may not have been read if `partly`.

        Raises:
            HfpruneError: a share is not finite (names criterion, key and batch), or units have no share, since
                text alone does not run their layer.
        """
        totals, self._totals = self._totals, []
        reached = {key for _, key, _ in totals}.union(*(sample.parts()["scores"] for sample in self.samples))
        if (silent := self.units.keys() - reached) and not partly:
            raise HfpruneError(
                f"text does not run {min(silent)}, which therefore has no scores; try another model"
            )
        for (first, key, _), number in zip(totals, _on_host(total for _, _, total in totals), strict=True):
            if not math.isfinite(number):
                raise HfpruneError(
                    f"scores of {type(self.criterion).__name__} are not finite at {key} after the batch at "
                    f"sequence {first}; try another dtype, and check the model with `hfprune measure perplexity`"
                )

    def mark(self, sequences: int) -> None:
        """Mark the samples that began with the pass and are incomplete; others have their last mark alone."""
        for sample in self.samples:
            if sample.numbers.start == 0 and sequences < sample.numbers.stop:
                sample.mark(sequences)


def overlaps(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """Return the share of units that both scores of each pair keep, when cut to `KEPT_FRACTION`."""
    counts = [max(1, round(KEPT_FRACTION * len(a))) for a, _ in pairs]
    shared = []
    for count, pair in zip(counts, pairs, strict=True):
        kept = torch.zeros(len(pair[0]), dtype=torch.int64, device=pair[0].device)
        for scores in pair:
            kept[keep_highest(scores, count)] += 1
        shared.append((kept == 2).sum())
    return [number / count for number, count in zip(_on_host(shared), counts, strict=True)]


def _on_host(numbers: Iterable[Tensor]) -> list[float]:
    """Return numbers that may lie on several devices, with a single transfer."""
    given = [*numbers]
    return torch.stack([x.to(given[0].device) for x in given]).tolist() if given else []
