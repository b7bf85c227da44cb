"""Least squares with a ridge: the change of the weights that stay, which foretells what their layer has lost.

A plan takes the inputs P of a linear layer with weights W away and leaves the inputs S. The output loses
d = W·x_dense - W[:,S]·x. We add to W[:,S] the Δ that minimises Σ‖d - Δ·x‖² + λ·mean(diag Σ x·xᵀ)·‖Δ‖²:

    Δ = (Σ d·xᵀ) · (Σ x·xᵀ + λ·mean·I)⁻¹

With dense inputs, d = W[:,P]·x_P: Σ d·xᵀ = W[:,P]·G[P,S] and Σ x·xᵀ = G[S,S] are parts of one Gram matrix G,
whatever the plan, and W[:,S] + Δ is W·G[:,S]·G[S,S]⁻¹ at λ = 0. The ridge is on the change: λ → ∞ gives the plain
plan.

Sources: GRAIL (github.com/TWWinde/GRAIL_Compensation), whose ridge draws W[:,S] to zero; for the bias, FLAP
(2312.11983).
"""

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from hfprune.errors import HfpruneError
from hfprune.models.units import Units
from hfprune.recoveries import Linear
from hfprune.recovery.grams import Moments, inputs_of
from hfprune.recovery.solved import Solved


class SingularError(HfpruneError):
    pass


def lost(weight: Tensor, dense: Moments, kept: Tensor) -> Moments:
    gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
    gone[kept] = False
    away = gone.nonzero().squeeze(1)
    removed = weight[:, away].to(dense.gram)
    cross = removed @ dense.gram[away]
    below = torch.cat([cross[:, kept], cross[:, away] @ removed.T], 1)
    above = torch.cat([dense.gram[kept.unsqueeze(1), kept], cross[:, kept].T], 1)
    total = torch.cat([dense.total[kept], removed @ dense.total[away]])
    return Moments(dense.tokens, torch.cat([above, below]), total)


def change(sums: Moments, inputs: int, ridge: float, bias: bool = False) -> tuple[Tensor, Tensor]:
    """Return float64 Δ [outputs, inputs], and what it adds to the bias [outputs]: 0 without `bias`.

    With it, the moments are about the means, and the bias makes up for the mean of what is still lost. At λ = ∞,
    Δ is 0, and that is the mean of all that is lost: FLAP's bias.

    Args:
        sums: the moments of [x, d].
        inputs: the length of x.
        ridge: λ.
        bias: whether the layer's bias changes too.

    Raises:
        HfpruneError: there are fewer tokens than inputs, or these are linearly dependent.
    """
    mean = sums.total.double() / sums.tokens
    x, d = mean.split([inputs, len(mean) - inputs])
    if ridge == inf:
        return d.new_zeros(len(d), inputs), d * bias
    if sums.tokens < inputs:
        raise HfpruneError(
            f"{sums.tokens:,} calibration tokens, besides those held out, do not determine the weights of "
            f"{inputs:,} inputs; take more"
        )
    gram, cross = (
        sums.gram[part, :inputs].to(mean, copy=True) for part in (slice(inputs), slice(inputs, None))
    )
    if bias:
        gram.addr_(x, x, alpha=-sums.tokens)
        cross.addr_(d, x, alpha=-sums.tokens)
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(gram)
    # The share of each input that those before it do not foretell, which is known to the sums' own rounding.
    own = factor.diagonal().square() / gram.diagonal()
    known = max(inputs * torch.finfo(gram.dtype).eps, 8 * torch.finfo(sums.gram.dtype).eps)
    if failed or not own.min() > known:
        raise SingularError(
            "the inputs that stay are linearly dependent (dead or equal neurons): take a larger λ or more tokens"
        )
    found = torch.cholesky_solve(cross.T, factor).T
    return found, (d - found @ x) * bias


def left(sums: Moments, found: Tensor, offset: Tensor) -> float:
    """Return Σ‖d - Δ·x - offset‖² relative to Σ‖d‖², over the tokens of these moments of [x, d]."""
    inputs, found, offset = found.shape[1], found.to(sums.gram), offset.to(sums.gram)
    energy = sums.gram.diagonal()[inputs:].sum()
    square = ((found @ sums.gram[:inputs, :inputs] - 2 * sums.gram[inputs:, :inputs]) * found).sum()
    mean = sums.total[inputs:] - found @ sums.total[:inputs]
    square += sums.tokens * offset.square().sum() - 2 * offset @ mean
    return float(1 + square / energy) if energy else 0.0


def solve(units: Units, kept: Tensor, dense: Sequence[Moments], settings: Linear) -> Solved:
    """Solve the weights that read the units `kept` again, from all of the calibration.

    Args:
        units: all units of the place.
        kept: those that stay.
        dense: the moments of all inputs of the layer, over the tokens that are fitted first, to which those that
            choose λ are then added, and over these.
        settings: candidates for λ, and whether the bias changes too.

    Raises:
        HfpruneError: as `change`; for linearly dependent inputs if no λ makes up for them.
    """
    linear, inputs = units.linears[-1], inputs_of(units, kept)
    fitted, held_out = (lost(linear.weight, moments, inputs) for moments in dense)
    shares: dict[float, float] = {}
    for ridge in sorted(settings.ridges):
        try:
            shares[ridge] = left(held_out, *change(fitted, len(inputs), ridge, settings.bias))
        except SingularError:
            if ridge == max(settings.ridges):
                raise
    best = min(shares, key=shares.__getitem__)
    fitted += held_out
    found, offset = change(fitted, len(inputs), best, settings.bias)
    weight = (linear.weight[:, inputs] + found).to(linear.weight.dtype)
    new = None
    if settings.bias or linear.bias is not None:
        new = (offset if linear.bias is None else linear.bias + offset).to(weight).cpu()
    return Solved(weight.cpu(), new, best, shares[best])
