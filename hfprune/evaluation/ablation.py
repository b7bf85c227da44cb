"""True ablation: the effect of zeroing one neuron on the model's distribution, estimated by scores."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from hfprune.models.head import check_blocks, head_chunk, hidden_states, logits
from hfprune.models.units import Neurons, gated_mlps
from hfprune.provenance import save_tensors, unfinished
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sample_neurons(model: "PreTrainedModel", count: int, seed: int) -> list[Tensor]:
    """Draw `count` neurons from every layer, or all if there are fewer; one vector of sorted indices each."""
    found = []
    for layer, mlp in enumerate(gated_mlps(model)):
        generator = torch.Generator().manual_seed(derive_seed(seed, "ablation", layer))
        found.append(torch.randperm(mlp.count, generator=generator)[:count].sort().values)
    return found


@torch.no_grad()
def ablate(
    model: "PreTrainedModel",
    blocks: Tensor,
    neurons: list[Tensor],
    batch_tokens: int,
    state: Path | None = None,
    identity: str = "",
) -> pd.DataFrame:
    """Zero one neuron at a time and measure KL(dense ‖ ablated) of the next-token distributions.

    The model should be in float32: one neuron moves logits by less than bfloat16 resolves.

    Args:
        model: dense, frozen.
        blocks: tokens [sequences, length].
        neurons: indices of the neurons to ablate, one vector per layer.
        batch_tokens: tokens of a forward pass; a sequence counts once for every neuron ablated in it.
        state: safetensors file where sums are saved after every sequence, and from which they resume.
        identity: identifies model, blocks and settings; a state of another identity is not used.

    Returns:
        One row per neuron: `layer`, `neuron`, and `damage`, the divergence in nats, mean over all positions.

    Raises:
        HfpruneError: the blocks are from another model.
    """
    check_blocks(model, blocks)
    size = max(1, batch_tokens // blocks.shape[1])
    pairs = [(layer, int(neuron)) for layer, chosen in enumerate(neurons) for neuron in chosen]
    done = int(unfinished(state, identity).get("done", 0))
    sums = load_file(state)["sums"] if state and done else torch.zeros(len(pairs), dtype=torch.float64)
    bar = tqdm(total=len(pairs) * len(blocks), initial=len(pairs) * done, desc="ablate", unit="pass")
    for number in range(done, len(blocks)):
        tokens = blocks[number : number + 1].to(model.device, torch.int64)
        dense, parts = hidden_states(model, tokens)[0], []
        for mlp, chosen in zip(gated_mlps(model), neurons, strict=True):
            for part in chosen.to(model.device).split(size):
                parts.append(_divergence(model, dense, _ablated(model, tokens, mlp, part)))
                bar.update(len(part))
        sums += torch.cat(parts).cpu()
        if state:
            save_tensors(state, {"sums": sums}, identity=identity, done=str(number + 1))
    bar.close()
    return pd.DataFrame(pairs, columns=["layer", "neuron"]).assign(damage=(sums / len(blocks)).numpy())


def _ablated(model: "PreTrainedModel", tokens: Tensor, mlp: Neurons, neurons: Tensor) -> Tensor:
    """Return the last hidden states [neurons, length, width] for `tokens` [1, length], each without one neuron."""

    def branch(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        # One sequence goes in and one per neuron comes out, so that lower layers are computed once.
        h = inputs[0].repeat(len(neurons), 1, 1)
        h[torch.arange(len(neurons), device=h.device), :, neurons] = 0
        return (h,)

    handle = mlp.down.register_forward_pre_hook(branch)
    try:
        return hidden_states(model, tokens)
    finally:
        handle.remove()


def _divergence(model: "PreTrainedModel", dense: Tensor, ablated: Tensor) -> Tensor:
    """Return KL(dense ‖ ablated) [neurons], mean over positions.

    Args:
        model: the model with the head.
        dense: hidden states [length, width].
        ablated: hidden states [neurons, length, width]; the head reads them in chunks of positions.
    """
    step = max(1, head_chunk(model) // len(ablated))
    total = torch.zeros(len(ablated), dtype=torch.float64, device=dense.device)
    for p, q in zip(dense.split(step), ablated.split(step, 1), strict=True):
        log_p = logits(model, p).float().log_softmax(-1)
        ratio = log_p - logits(model, q).float().log_softmax(-1)
        # Σ p (r + e^-r - 1) equals Σ p r, but no term is negative, so large terms do not cancel.
        total += (log_p.exp() * (ratio + ratio.neg().expm1())).sum((1, 2)).double()
    return total / len(dense)
