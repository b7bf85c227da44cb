"""Least squares with a ridge: the change of the kept weights that best predicts what their layer has lost.

A plan removes the inputs P of a linear layer with weights W and keeps the inputs S. The output loses
d = W·x_dense - W[:,S]·x. We add to W[:,S] the Δ that minimises Σ‖d - Δ·x‖² + λ·mean(diag Σ x·xᵀ)·‖Δ‖²:

    Δ = (Σ d·xᵀ) · (Σ x·xᵀ + λ·mean·I)⁻¹

With dense inputs, d = W[:,P]·x_P: Σ d·xᵀ = W[:,P]·G[P,S] and Σ x·xᵀ = G[S,S] are parts of one Gram matrix G,
whatever the plan, and W[:,S] + Δ is W·G[:,S]·G[S,S]⁻¹ at λ = 0. The ridge is on the change: λ → ∞ gives the plain
plan.

Sources: GRAIL (github.com/TWWinde/GRAIL_Compensation), whose ridge shrinks W[:,S] towards zero; for the bias, FLAP
(2312.11983).
"""

from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from hfprune.errors import HfpruneError
from hfprune.models.grams import Moments, inputs_of
from hfprune.models.units import Units
from hfprune.recovery.solved import Solved
from hfprune.settings.recovery import Linear

# Number of random combinations of the outputs, which choose λ. The mean of their sum of squares is that of all
# outputs, with a relative standard deviation of at most √(2/128) = 1/8 (if one direction has all of it).
PROBES = 128
# A share is significant above these multiples of the precision of the sums, and of their Cholesky factor.
SUMS, FACTOR = 8, 1024


class SingularError(HfpruneError):
    """Says that the kept inputs are linearly dependent, so that they do not determine the weights."""


class Lost(NamedTuple):
    """Sums over tokens of x, the kept inputs, and d, the lost output: Σ x·xᵀ, Σ d·xᵀ, Σ x, Σ d and Σ‖d‖²."""

    tokens: int
    gram: Tensor
    cross: Tensor
    x: Tensor
    d: Tensor
    energy: Tensor


def lost(weight: Tensor, dense: Moments, kept: Tensor) -> Lost:
    """Return the sums that determine the change, where both x and d come from the dense inputs.

    Args:
        weight: W [outputs, inputs].
        dense: the moments of all inputs.
        kept: indices of S, the kept inputs.
    """
    away = torch.ones(weight.shape[1], device=kept.device).index_fill(0, kept, 0).nonzero().squeeze(1)
    removed = weight[:, away].to(dense.gram)
    cross = removed @ dense.gram[away]
    gram, energy = dense.gram[kept.unsqueeze(1), kept], (cross[:, away] * removed).sum()
    return Lost(dense.tokens, gram, cross[:, kept], dense.total[kept], removed @ dense.total[away], energy)


def change(sums: Lost, ridge: float) -> tuple[Tensor, Tensor]:
    """Return Δ [outputs, inputs] and the change of the bias [outputs] at λ = `ridge`.

    The bias changes only at λ = ∞, where Δ is 0: by the mean of the lost output, as in FLAP. Δ has the precision
    of the moments, or float64 if that is too low: float64 takes a CPU twice the time, and many GPUs 64 times.

    Raises:
        HfpruneError: there are fewer tokens than inputs, or the inputs are linearly dependent.
    """
    inputs = len(sums.x)
    if ridge == inf:
        return torch.zeros_like(sums.cross), sums.d / sums.tokens
    if sums.tokens < inputs:
        raise HfpruneError(
            f"{sums.tokens:,} calibration tokens, besides those held out, do not determine the weights of "
            f"{inputs:,} inputs; take more"
        )
    for dtype in dict.fromkeys((sums.gram.dtype, torch.float64)):
        gram, cross = sums.gram.to(dtype, copy=True), sums.cross.to(dtype)
        gram.diagonal().add_(ridge * gram.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(gram)
        # The share of each input's square that the inputs before it do not predict.
        own = factor.diagonal().square() / gram.diagonal()
        significant = max(SUMS * torch.finfo(sums.gram.dtype).eps, FACTOR * torch.finfo(dtype).eps)
        if not failed and own.min() > significant:
            half = torch.linalg.solve_triangular(factor.T, cross, upper=True, left=False)
            solution = torch.linalg.solve_triangular(factor, half, upper=False, left=False)
            return solution, torch.zeros_like(sums.d)
    raise SingularError(
        "the inputs that stay are linearly dependent (dead or equal neurons): take a larger λ or more tokens"
    )


def left(sums: Lost, delta: Tensor, offset: Tensor) -> float:
    """Return Σ‖d - Δ·x - offset‖² relative to Σ‖d‖², over the tokens of these moments."""
    delta, offset = delta.to(sums.gram), offset.to(sums.gram)
    square = ((delta @ sums.gram - 2 * sums.cross) * delta).sum()
    square += sums.tokens * offset.square().sum() - 2 * offset @ (sums.d - delta @ sums.x)
    return float(1 + square / sums.energy) if sums.energy else 0.0


def solve(units: Units, kept: Tensor, dense: Sequence[Moments], settings: Linear) -> Solved:
    """Reconstruct the weights that read the units `kept`, from all of the calibration.

    Args:
        units: all units of the place.
        kept: indices of the kept units.
        dense: the moments of all inputs of the layer, first over the tokens for fitting, then over those that
            choose λ.
        settings: candidates for λ, tried from the largest on while the error falls.

    Raises:
        HfpruneError: see `change`; linearly dependent inputs fail only if no λ makes up for them.
    """
    linear, inputs = units.linears[-1], inputs_of(units, kept)
    fitted, held_out = (lost(_probes(linear.weight), moments, inputs) for moments in dense)
    best, *smaller = sorted(settings.ridges, reverse=True)
    least = left(held_out, *change(fitted, best))
    with suppress(SingularError):
        for ridge in smaller:
            error = left(held_out, *change(fitted, ridge))
            if error > least:
                break
            best, least = ridge, error
    weight, offset = change(lost(linear.weight, dense[0] + dense[1], inputs), best)
    weight = (linear.weight[:, inputs] + weight).to(linear.weight.dtype)
    new: Tensor | None = linear.bias
    if best == inf:
        new = (offset if new is None else new + offset).to(weight)
    return Solved(weight.cpu(), None if new is None else new.cpu(), best, least)


def _probes(weight: Tensor) -> Tensor:
    """Return the weights of random combinations of outputs, whose mean sum of squares is that of all outputs."""
    if len(weight) <= PROBES:
        return weight
    mixed = torch.randn(PROBES, len(weight), generator=torch.Generator().manual_seed(0)) / PROBES**0.5
    return mixed.to(weight.device) @ weight.float()
