"""ShortGPT: remove whole decoder blocks, those that change the hidden state least.

Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", 2024, arXiv 2403.03853.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from hfprune.baselines.contract import block_parameters
from hfprune.calibration import load_blocks
from hfprune.errors import HfpruneError
from hfprune.models import default_batch_tokens, hidden_states, load_model
from hfprune.plans import count_parameters, export
from hfprune.provenance import Stopwatch, provenance, stable

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def block_influence(model: "PreTrainedModel", blocks: Tensor, batch_tokens: int) -> Tensor:
    """Return 1 - mean cos(x_in, x_out) of every decoder block over all tokens (their Eq. 1), float64 [layers].

    Args:
        model: a dense model.
        blocks: calibration tokens [sequences, length].
        batch_tokens: tokens of a forward pass.
    """
    layers = model.model.layers
    cosines = torch.zeros(len(layers), dtype=torch.float64)

    def add(index: int, _layer: nn.Module, inputs: tuple[Tensor], output: Any) -> None:
        # float32 in any dtype: the cosines that tell blocks apart lie close to 1.
        x_in, x_out = inputs[0].float(), output.float()
        cosines[index] += cosine_similarity(x_in, x_out, dim=-1).double().sum().cpu()

    # The blocks themselves, since `output_hidden_states` has the last one only after the final norm.
    handles = [layer.register_forward_hook(partial(add, index)) for index, layer in enumerate(layers)]
    try:
        for batch in tqdm(blocks.split(max(1, batch_tokens // blocks.shape[1])), desc="shortgpt"):
            hidden_states(model, batch.to(model.device, torch.int64))
    finally:
        for handle in handles:
            handle.remove()
    return 1 - cosines / blocks.numel()


def blocks_to_remove(model: "PreTrainedModel", ratio: float) -> int:
    """Return the number of decoder blocks that comes nearest to `ratio` of all parameters.

    Raises:
        HfpruneError: none or all of them; gives the possible ratios.
    """
    count, share = len(model.model.layers), block_parameters(model) / count_parameters(model)
    nearest = round(ratio / share)
    if not 0 < nearest < count:
        raise HfpruneError(
            f"ratio {ratio:g} is nearest to removing {nearest} of {count} decoder blocks; "
            f"choose one from {share:.3f} to {share * (count - 1):.3f}"
        )
    return nearest


def remove_blocks(model: "PreTrainedModel", removed: list[int]) -> None:
    """Remove decoder blocks in place, so that the model saves as an ordinary shallower one."""
    kept = [index for index in range(len(model.model.layers)) if index not in removed]
    model.model.layers = nn.ModuleList(model.model.layers[index] for index in kept)
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = index  # its place in the cache of keys and values
    model.config.num_hidden_layers = len(kept)
    if getattr(model.config, "layer_types", None):  # full or sliding attention, layer by layer (Qwen)
        model.config.layer_types = [model.config.layer_types[index] for index in kept]


def shortgpt(dense: Path, blocks: Path, ratio: float, out: Path) -> None:
    """Write the pruned model as a checkpoint whose `config.json` says which blocks are gone, and why."""
    watch = Stopwatch()
    tokens, model = load_blocks(blocks), load_model(dense)
    count = blocks_to_remove(model, ratio)
    influence = block_influence(model, tokens, default_batch_tokens())
    removed = sorted(influence.argsort(stable=True)[:count].tolist())
    remove_blocks(model, removed)
    made = stable(provenance(watch, {"model": dense, "blocks": blocks}, ratio=ratio))
    model.config.shortgpt = {"removed": removed, "influence": influence.tolist(), "provenance": made}
    export(model, dense, out)


def main() -> None:
    """Run as `python -m hfprune.baselines.shortgpt`."""
    parser = argparse.ArgumentParser(prog="shortgpt", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the dense model")
    parser.add_argument("--blocks", type=Path, required=True, help="calibration blocks")
    parser.add_argument("--ratio", type=float, required=True, help="fraction of all parameters to remove")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    arguments = parser.parse_args()
    try:
        shortgpt(arguments.model, arguments.blocks, arguments.ratio, arguments.out)
    except HfpruneError as error:
        sys.exit(f"shortgpt: error: {error}")


if __name__ == "__main__":
    main()
