"""Running statistics of a sweep, in folds; two halves show how well the calibration determines the plan."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hfprune.files import atomic_file
from hfprune.scoring.folds import FOLDS, KEPT_FRACTION, resample
from hfprune.scoring.scores import Scores

# The progress of one criterion in a sweep, one entry per mark: `sequences` and the values of `Tally.mark`.
Curve = list[dict[str, Any]]


def _sum(parts: Tensor) -> Tensor:
    return parts.sum(0)


def _itself(_place: str, statistic: Tensor) -> Tensor:
    return statistic


@dataclass
class Tally:
    """The statistics of one criterion, by fold and place; by default sums, which are also the scores."""

    places: Sequence[str]
    """The places in the order of the scores; a backward pass reaches them in another order."""
    combine: Callable[[Tensor], Tensor] = _sum
    """Combines the statistics of several sequences or folds [n, ...] into one [...]."""
    finish: Callable[[str, Tensor], Tensor] = _itself
    """Makes the scores [units] of a place from its statistic."""
    dtype: torch.dtype = torch.float64
    """Dtype of the statistics."""
    in_bfloat16: bool = False
    """Whether scores come from one sum in bfloat16, as in the official script, instead of the folds."""
    fold_of: Sequence[int] | None = None
    """The fold of each sequence, by its number; by default the sequences are dealt to the folds in turn."""
    folds: list[dict[str, Tensor]] = field(default_factory=lambda: [{} for _ in range(FOLDS)])
    """The statistics of each fold; the even ones are one half of the calibration, the odd ones the other."""
    official: dict[str, Tensor] = field(default_factory=dict)
    """The bfloat16 sum by place."""
    previous: Scores = field(default_factory=dict)
    """The scores at the last mark."""

    def add(self, place: str, rows: Tensor, first: int) -> None:
        """Add the shares [sequences, ...] of consecutive sequences; `first` is the first one's number."""
        numbers = range(first, first + len(rows))
        homes = [(self.fold_of[n] if self.fold_of else n) % len(self.folds) for n in numbers]
        for index in dict.fromkeys(homes):
            fold, mine = self.folds[index], rows[[row for row, home in enumerate(homes) if home == index]]
            share = self.combine(mine).to(self.dtype)
            fold[place] = self._combined([fold[place], share]) if place in fold else share
        if self.in_bfloat16:
            for row in rows.to(torch.bfloat16):
                self.official[place] = self.official[place] + row if place in self.official else row

    def scores(self) -> Scores:
        """Return the float64 scores from all sequences so far."""
        if self.in_bfloat16:
            return self._finished([{place: x.double() for place, x in self.official.items()}])
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
        for place in self.places:
            if parts := [fold[place] for fold in folds if place in fold]:
                found[place] = self.finish(place, self._combined(parts)).double()
        return found

    def _combined(self, parts: list[Tensor]) -> Tensor:
        return self.combine(torch.stack(parts)) if len(parts) > 1 else parts[0]

    def mark(self) -> dict[str, Any]:
        """Measure how well the plan is determined so far, and store the scores for the next mark.

        Returns:
            `agreement`: the share of the units kept by one half that the other half keeps, too, with each
            place cut to `KEPT_FRACTION`; `places`: the same per place; `successive`: the share of the kept
            units that the scores at the last mark keep, too.
        """
        now = self.scores()
        # A half without sequences scores zero; so do the units before the first mark.
        even, odd, previous = (
            {place: scores.get(place, torch.zeros_like(x)) for place, x in now.items()}
            for scores in (self._finished(self.folds[0::2]), self._finished(self.folds[1::2]), self.previous)
        )
        places = {place: overlap(even[place], odd[place]) for place in now}
        successive = [overlap(now[place], previous[place]) for place in now]
        self.previous = now
        # Weighted by units: a layer's few key-value groups must not count as much as its many neurons.
        weights = [*map(len, now.values())]
        agreement, since = (
            np.average(shares, weights=weights) for shares in ([*places.values()], successive)
        )
        return {"agreement": float(agreement), "places": places, "successive": float(since)}

    def state(self) -> dict[str, Tensor]:
        """Return all statistics by name, for `restore`."""
        parts = {f"fold{index}": fold for index, fold in enumerate(self.folds)}
        parts |= {"official": self.official, "previous": self.previous}
        return {f"{name}/{place}": x for name, part in parts.items() for place, x in part.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the statistics that `state` returned."""
        parts = {f"fold{index}": fold for index, fold in enumerate(self.folds)}
        parts |= {"official": self.official, "previous": self.previous}
        for name, tensor in state.items():
            part, _, place = name.partition("/")
            parts[part][place] = tensor


def overlap(a: Tensor, b: Tensor) -> float:
    """Return the share of the units kept by scores `a` that `b` keeps, too, each cut to `KEPT_FRACTION`."""
    count = max(1, round(KEPT_FRACTION * len(a)))
    kept = torch.zeros(len(a), dtype=torch.int64, device=a.device)
    for scores in (a, b):
        kept[scores.argsort(descending=True, stable=True)[:count]] += 1
    return (kept == 2).sum().item() / count


def marks(total: int) -> list[int]:
    """Return the sequence counts of the marks: 8, each next one larger by half, and finally `total`."""
    found = []
    mark = 8
    while mark < total:
        found.append(mark)
        mark += mark // 2
    return [*found, total]


def save_state(
    path: Path, identity: str, done: int, tallies: Sequence[Tally], curves: Sequence[Curve] = ()
) -> None:
    """Save an unfinished sweep atomically.

    Args:
        path: safetensors file.
        identity: identifies model, blocks and settings; only the same sweep may resume from here.
        done: number of sequences read.
        tallies: one per criterion.
        curves: one per tally, if any.
    """
    tensors = {
        f"{index}/{name}": x.cpu() for index, tally in enumerate(tallies) for name, x in tally.state().items()
    }
    about = {"identity": identity, "done": str(done), "curves": json.dumps([*curves])}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, about)


def load_state(
    path: Path, identity: str, tallies: Sequence[Tally], devices: Mapping[str, torch.device] | None = None
) -> tuple[int, list[Curve]]:
    """Restore the tallies of an unfinished sweep and return (`done`, curves); (0, []) without one.

    Args:
        path: safetensors file.
        identity: as in `save_state`.
        tallies: one per criterion.
        devices: the device of each place's statistics; by default the CPU.
    """
    if not path.exists():
        return 0, []
    with safe_open(path, "pt") as file:
        about = file.metadata()
        if about["identity"] != identity or "curves" not in about:
            return 0, []
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    for index, tally in enumerate(tallies):
        prefix = f"{index}/"
        own = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
        tally.restore({name: x.to((devices or {}).get(name.split("/")[1], "cpu")) for name, x in own.items()})
    return int(about["done"]), json.loads(about["curves"])
