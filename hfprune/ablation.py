"""True ablation: what zeroing one neuron does to the model's distribution, which first-order scores estimate."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hfprune.calibration import derive_seed
from hfprune.models import GatedMLP, gated_mlps, head_chunk, hidden_states
from hfprune.scoring import check_blocks
from hfprune.tally import Tally, load_state, save_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sample_neurons(model: "PreTrainedModel", count: int, seed: int) -> list[Tensor]:
    """Draw `count` neurons of every layer, or all where it has fewer; sorted indices, one vector a layer."""
    found = []
    for layer, mlp in enumerate(gated_mlps(model)):
        generator = torch.Generator().manual_seed(derive_seed(seed, "ablation", layer))
        found.append(torch.randperm(mlp.width, generator=generator)[:count].sort().values)
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
        neurons: indices of the neurons to ablate, one vector a layer.
        batch_tokens: tokens of a forward pass, each sequence counted once for every neuron ablated in it.
        state: safetensors file where sums are kept after every sequence, and from where they go on.
        identity: of model, blocks and settings; a state of another identity is not gone on with.

    Returns:
        One row per neuron: `layer`, `neuron`, and `damage`, the divergence in nats, mean over all positions.

    Raises:
        HfpruneError: the blocks are of another model.
    """
    check_blocks(model, blocks)
    size = max(1, batch_tokens // blocks.shape[1])
    tally = Tally.zeros([torch.zeros(len(n), dtype=torch.float64, device=model.device) for n in neurons])
    done, _ = load_state(state, identity, [tally]) if state else (0, [])
    passes = sum(map(len, neurons))
    with tqdm(total=passes * len(blocks), initial=passes * done, desc="ablate", unit="pass") as bar:
        for sequence in range(done, len(blocks)):
            tokens = blocks[sequence : sequence + 1].to(model.device, torch.int64)
            dense = hidden_states(model, tokens)[0]
            for layer, (mlp, chosen) in enumerate(zip(gated_mlps(model), neurons, strict=True)):
                parts = []
                for part in chosen.to(model.device).split(size):
                    parts.append(_divergence(model, dense, _ablated(model, tokens, mlp, part)))
                    bar.update(len(part))
                tally.add(layer, torch.cat(parts).unsqueeze(0), sequence)
            if state:
                save_state(state, identity, sequence + 1, [], [tally])
    return _table(neurons, [damage / len(blocks) for damage in tally.scores()])


def _ablated(model: "PreTrainedModel", tokens: Tensor, mlp: GatedMLP, neurons: Tensor) -> Tensor:
    """Return the last hidden states [neurons, length, width] for `tokens` [1, length], each without one neuron."""

    def branch(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        # One sequence goes in and one for each neuron comes out, so that layers below are computed once.
        h = inputs[0].repeat(len(neurons), 1, 1)
        h[torch.arange(len(neurons), device=h.device), :, neurons] = 0
        return (h,)

    handle = mlp.down.register_forward_pre_hook(branch)
    try:
        return hidden_states(model, tokens)
    finally:
        handle.remove()


def _divergence(model: "PreTrainedModel", dense: Tensor, ablated: Tensor) -> Tensor:
    """Return KL(dense ‖ ablated) [neurons], mean over positions, for hidden states [length, width] and
    [neurons, length, width], through the head in chunks of positions."""
    head = model.lm_head
    step = max(1, head_chunk(model) // len(ablated))
    total = torch.zeros(len(ablated), dtype=torch.float64, device=dense.device)
    for p, q in zip(dense.split(step), ablated.split(step, 1), strict=True):
        log_p = head(p).float().log_softmax(-1)
        ratio = log_p - head(q).float().log_softmax(-1)
        # Σ p (r + e^-r - 1) equals Σ p r, but no term is negative, and what is left is not a difference of sums.
        total += (log_p.exp() * (ratio + ratio.neg().expm1())).sum((1, 2)).double()
    return total / len(dense)


def _table(neurons: list[Tensor], damages: list[Tensor]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"layer": layer, "neuron": chosen.numpy(), "damage": damage.cpu().numpy()})
        for layer, (chosen, damage) in enumerate(zip(neurons, damages, strict=True))
    ]
    return pd.concat(parts, ignore_index=True)
