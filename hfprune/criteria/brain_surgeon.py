"""Optimal brain surgeon on the columns of `down_proj`: removes neurons one by one and updates the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from hfprune.criteria import SearchCriterion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.models.shape import Shape
    from hfprune.models.units import Neurons

# Columns after whose removal the matrices are updated, and made smaller.
BLOCK = 64


class BrainSurgeon(SearchCriterion):
    """The share of a layer's squared output that is lost by the time a neuron is removed.

    Each step removes the neuron that costs least, argmin_i ‖d_i‖² / (H⁻¹)_ii with H = Σ h·hᵀ + λ·mean(diag)·I, and
    reconstructs the remaining weights. ZipLM (2302.04089), OSSCAR (2403.12983) and SlimGPT (2412.18110) remove
    columns in this way; here they are removed one by one, on the dense layer's inputs.
    """

    ridge: PositiveFloat = 0.01
    """λ, relative to the mean of the Gram matrix's diagonal, as in SparseGPT."""

    def search(
        self,
        model: PreTrainedModel,
        units: Mapping[str, Neurons],
        batches: Sequence[Tensor],
        saved: Mapping[str, Tensor],
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the scores [neurons] layer by layer."""
        from hfprune.models.grams import grams

        missing = [unit for name, unit in units.items() if name not in saved]
        for name, sums, _ in grams(model, [(tokens, False) for tokens in batches], missing):
            weight, gram = units[name].down.weight.double(), sums.gram.double()
            errors = removal_errors(weight, gram, self.ridge)
            yield name, errors / ((weight @ gram) * weight).sum()

    def operations(self, shape: Shape, tokens: float, length: float) -> float:
        """Return those of one pass without head, the Gram matrices, their inverses and all removals."""
        width, head = shape.neurons, 2 * tokens * shape.hidden * shape.vocabulary
        # An inverse, and updates of matrices that become smaller.
        removals = 5 / 3 * width**3 + 2 * shape.hidden * width**2
        return shape.forward(tokens, length) - head + shape.layers * (tokens * width**2 + removals)

    def memory(self, shape: Shape, tokens: float, dtype: str) -> float:
        """Return the bytes of two Gram matrices in float32, and of five matrices as large in float64."""
        return 48 * shape.neurons**2


def removal_errors(weight: Tensor, gram: Tensor, ridge: float) -> Tensor:
    """Return the reconstruction error after each column's removal [columns], by greedy optimal brain surgeon.

    The error without some columns is the least Σ‖W·h - W'·h‖² + λ·mean(diag G)·‖W - W'‖² over W' that lack them.
    With the matrices of the columns that are left, removing i adds ‖w_i‖²/(H⁻¹)_ii; then W -= v·uᵀ and
    H⁻¹ -= u·uᵀ, with u = (H⁻¹)_:i/√(H⁻¹)_ii and v = w_i/√(H⁻¹)_ii.

    Args:
        weight: W [outputs, columns], float64.
        gram: G = Σ h·hᵀ [columns, columns], float64.
        ridge: λ.
    """
    import torch

    inverse = gram.clone()
    inverse.diagonal().add_(ridge * gram.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(inverse))
    errors, columns = torch.zeros_like(gram[0]), torch.arange(len(gram), device=gram.device)
    error = errors.new_zeros(())
    while len(columns):
        order, added, u, v = _remove_block(weight, inverse)
        errors[columns[order]] = error + added.cumsum(0)
        error = error + added.sum()
        left = torch.ones_like(columns, dtype=torch.bool).index_fill(0, order, False)
        columns, u = columns[left], u[left]
        weight = weight[:, left] - v @ u.T
        inverse = inverse[left][:, left] - u @ u.T
    return errors


def _remove_block(weight: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose up to `BLOCK` columns one by one; return them, what each adds to the error, and all their u and v.

    The matrices stay as they are: of the updated ones, a step needs squared norms, a diagonal and a column.
    """
    import torch

    count = min(BLOCK, inverse.shape[0])
    squares, diagonal = weight.square().sum(0), inverse.diagonal().clone()
    us, vs = inverse.new_zeros(len(inverse), count), weight.new_zeros(len(weight), count)
    order, added = diagonal.new_zeros(count, dtype=torch.long), diagonal.new_zeros(count)
    for number in range(count):
        costs = squares / diagonal
        costs[order[:number]] = torch.inf
        chosen = costs.argmin()
        order[number], added[number] = chosen, costs[chosen]
        before_u, before_v = us[:, :number], vs[:, :number]
        scale = diagonal[chosen].rsqrt()
        u = us[:, number] = (inverse[:, chosen] - before_u @ before_u[chosen]) * scale
        v = vs[:, number] = (weight[:, chosen] - before_v @ before_u[chosen]) * scale
        products = weight.T @ v - before_u @ (before_v.T @ v)
        squares += u * (u * (v @ v) - 2 * products)
        diagonal -= u.square()
    return order, added, us, vs
