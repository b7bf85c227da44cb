"""Running sums of a sweep, in two halves whose agreement tells how well calibration determines the plan."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hfprune.files import atomic_file

# Scores of every layer, first to last: one float64 vector [neurons] each. Where attention is scored too, one
# vector [key-value groups] for each layer follows.
Scores = list[Tensor]
# What a sweep learnt on the way, one entry a mark: see `Tally.mark`.
Curve = list[dict[str, Any]]

# The cut at which agreement is taken; that of the paper's ratios lies on both sides of it.
KEPT_FRACTION = 0.5


@dataclass
class Tally:
    """What the sequences add to one criterion's scores, summed over even and over odd sequences."""

    even: list[Tensor]
    odd: list[Tensor]
    previous: Scores
    """The scores at the last mark."""
    official: list[Tensor] | None = None
    """The official script's one sum, in bfloat16, which takes the place of the others for scores."""
    finish: Callable[[int, Tensor], Tensor] = lambda layer, sums: sums
    """Makes the scores [neurons] of a layer from its sums; by default the sums are the scores."""

    @classmethod
    def zeros(
        cls,
        like: Sequence[Tensor],
        accumulator: str = "float64",
        finish: Callable[[int, Tensor], Tensor] | None = None,
    ) -> "Tally":
        """Start at zero, with sums of shape and dtype of the tensors in `like`, one a layer."""
        even, odd = ([torch.zeros_like(x) for x in like] for _ in range(2))
        tally = cls(even, odd, [], finish=finish or cls.finish)
        if accumulator == "bfloat16":
            tally.official = [torch.zeros_like(x, dtype=torch.bfloat16) for x in like]
        tally.previous = tally.scores()
        return tally

    def add(self, layer: int, rows: Tensor, first: int) -> None:
        """Add the shares [sequences, ...] of consecutive sequences, of which `first` is the number."""
        self.even[layer] += rows[first % 2 :: 2].sum(0)
        self.odd[layer] += rows[1 - first % 2 :: 2].sum(0)
        if self.official:
            for row in rows.to(torch.bfloat16):
                self.official[layer] += row

    def scores(self) -> Scores:
        """Return the scores by all sequences."""
        if self.official:
            return self._finished(x.double() for x in self.official)
        return self._finished(even + odd for even, odd in zip(self.even, self.odd, strict=True))

    def _finished(self, sums: Iterable[Tensor]) -> Scores:
        return [self.finish(layer, x).double() for layer, x in enumerate(sums)]

    def mark(self) -> dict[str, Any]:
        """Say how well the plan is determined so far, and remember the scores for the next mark.

        Returns:
            `agreement`: of the neurons, and key-value groups, that one half keeps, each layer cut to
            `KEPT_FRACTION`, the share that the other keeps too; `layers`: the same per layer; `successive`: the
            share kept at the last mark too.
        """
        halves = self._finished(self.even), self._finished(self.odd)
        layers = [overlap(*pair) for pair in zip(*halves, strict=True)]
        now = self.scores()
        successive = [overlap(*pair) for pair in zip(now, self.previous, strict=True)]
        self.previous = now
        # Not a plain mean: a layer's few key-value groups must not count as much as its thousands of neurons.
        agreement, since = (np.average(shares, weights=[*map(len, now)]) for shares in (layers, successive))
        return {"agreement": float(agreement), "layers": layers, "successive": float(since)}

    @property
    def nbytes(self) -> int:
        """Size of all sums."""
        return sum(x.nbytes for x in self.state().values())

    def state(self) -> dict[str, Tensor]:
        """Return all sums by name, for `restore`."""
        parts = {"even": self.even, "odd": self.odd, "previous": self.previous}
        if self.official:
            parts["official"] = self.official
        return {f"{name}.{layer}": x for name, part in parts.items() for layer, x in enumerate(part)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the sums that `state` returned."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def overlap(a: Tensor, b: Tensor) -> float:
    """Return the share of neurons kept by scores `a` that scores `b` keep too, each cut to `KEPT_FRACTION`."""
    count = max(1, round(KEPT_FRACTION * len(a)))
    kept = torch.zeros(len(a), dtype=torch.int64, device=a.device)
    for scores in (a, b):
        kept[scores.argsort(descending=True, stable=True)[:count]] += 1
    return (kept == 2).sum().item() / count


def marks(total: int) -> list[int]:
    """Return the numbers of sequences at which agreement is taken: from 8 on, half as many more each time."""
    found = []
    mark = 8
    while mark < total:
        found.append(mark)
        mark += mark // 2
    return [*found, total]


def save_state(path: Path, identity: str, done: int, curve: Curve, tallies: Sequence[Tally]) -> None:
    """Save an unfinished sweep atomically.

    Args:
        path: safetensors file.
        identity: of model, blocks and settings; only the same sweep may go on from here.
        done: sequences that are in the sums.
        curve: marks so far.
        tallies: one per criterion.
    """
    tensors = {f"{i}.{name}": x.cpu() for i, tally in enumerate(tallies) for name, x in tally.state().items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"identity": identity, "done": str(done), "curve": json.dumps(curve)})


def load_state(path: Path, identity: str, tallies: Sequence[Tally]) -> tuple[int, Curve]:
    """Restore the tallies of an unfinished sweep and return (`done`, `curve`); (0, []) where there is none."""
    if not path.exists():
        return 0, []
    with safe_open(path, "pt") as file:
        about = file.metadata()
        if about["identity"] != identity:
            return 0, []
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    for i, tally in enumerate(tallies):
        tally.restore({name.split(".", 1)[1]: x for name, x in state.items() if name.startswith(f"{i}.")})
    return int(about["done"]), json.loads(about["curve"])
