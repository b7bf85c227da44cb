"""An independent reference: a plain implementation of the official recipe.

Batch 1, gradients for the MLP weights, logits of the whole sequence, `softmax` and `log_softmax` both
stored, h from hooks on `down_proj`. Only the accumulator differs: float64 instead of bfloat16.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def entropy_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the mean entropy over all positions of one sequence."""
    logits = logits.float()
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


def cross_entropy_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the mean next-token cross-entropy of one sequence."""
    return cross_entropy(logits[0, :-1].float(), tokens[0, 1:])


def official_scores(model, blocks: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Return Σ over tokens and sequences of |h · ∂loss/∂h| per layer."""
    downs = [layer.mlp.down_proj for layer in model.model.layers]
    scores = [torch.zeros(down.in_features, dtype=torch.float64) for down in downs]
    caught: dict[int, Tensor] = {}

    def catch(index: int):
        def hook(module, inputs, output):
            inputs[0].retain_grad()
            caught[index] = inputs[0]

        return hook

    handles = [down.register_forward_hook(catch(i)) for i, down in enumerate(downs)]
    weights = [p for name, p in model.named_parameters() if ".mlp." in name]
    for weight in weights:
        weight.requires_grad_(True)
    for block in blocks:
        block = block.long().unsqueeze(0)
        loss(model(block).logits, block).backward()
        for index, h in caught.items():
            scores[index] += (h.detach() * h.grad).abs().sum((0, 1)).double()
        model.zero_grad()
    for handle in handles:
        handle.remove()
    for weight in weights:
        weight.requires_grad_(False)
    return scores
