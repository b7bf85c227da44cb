"""One criterion in a pass over the blocks."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from hfprune.criteria import SweepCriterion
from hfprune.errors import HfpruneError
from hfprune.models.units import Units
from hfprune.scoring.passes import sums_bytes
from hfprune.scoring.statistics import Curve, Statistics
from hfprune.scoring.weight_forms import WEIGHT_FORMS, WeightForm, stacked_weights


class Scorer:
    """One criterion, the units that it scores, its statistics of the sequences read so far, and their curve."""

    def __init__(
        self, criterion: SweepCriterion, units: Mapping[str, Units], fold_of: Sequence[int] | None = None
    ) -> None:
        """Start without sequences.

        Args:
            criterion: the criterion.
            units: the units by key, in the order of the scores.
            fold_of: the fold of each sequence (`hfprune.scoring.folds`).
        """
        self.criterion, self.units = criterion, units
        self.kinds = {item.kind for item in units.values()}
        self.form = WEIGHT_FORMS.get(getattr(criterion, "aggregation", ""))
        # `partial`, not a method of this object: such a cycle would keep the sums after memory ran out.
        finish = partial(_finished, criterion, self.form, units)
        self.statistics = Statistics([*units], criterion.combine, finish, fold_of=fold_of)
        self.statistics.in_bfloat16 = getattr(criterion, "accumulator", "") == "bfloat16"
        if self.form:
            self.statistics.combine = None
            self.statistics.folds = [{}, {}]
        if sums_bytes(criterion, 1):
            self.statistics.dtype = torch.float32
        self.curve: Curve = []
        self._layers: dict[int, Tensor] = {}
        self._totals: list[tuple[int, str, Tensor]] = []

    def add(self, key: str, rows: Tensor, first: int) -> None:
        """Add the shares [sequences, ...] of consecutive sequences; `first` is the first one's number."""
        self._totals.append((first, key, rows.sum(dtype=torch.float64)))
        self.statistics.add(key, rows, first)

    def add_layer(self, layer: int, rows: Tensor) -> None:
        """Keep the shares [sequences, ...] of one decoder layer until `flush`."""
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
        device = totals[0][2].device
        numbers = torch.stack([total.to(device) for _, _, total in totals]).tolist()
        for (first, key, _), number in zip(totals, numbers, strict=True):
            if not math.isfinite(number):
                raise HfpruneError(
                    f"scores of {type(self.criterion).__name__} are not finite at {key} after the batch at "
                    f"sequence {first}; try another dtype, and check the model with `hfprune measure perplexity`"
                )

    def mark(self, sequences: int) -> None:
        """Add to the curve how well so many sequences determine the plan."""
        self.curve.append({"sequences": sequences} | self.statistics.mark())


def _finished(
    criterion: SweepCriterion,
    form: WeightForm | None,
    units: Mapping[str, Units],
    key: str,
    statistic: Tensor,
) -> Tensor:
    if form:
        statistic = form.finish(stacked_weights(units[key]), statistic)
    return criterion.finish(units[key], statistic)
