"""Text that a model generates: it continues blocks of tokens by draws from its own distribution."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache

from hfprune.devices.batches import WRITTEN_AT_ONCE
from hfprune.models.head import draw_tokens, next_logits
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def continued(
    model: "PreTrainedModel",
    blocks: Tensor,
    kept: int,
    *,
    seed: int,
    corpus: str = "corpus",
    at_once: int = WRITTEN_AT_ONCE,
) -> Tensor:
    """Let a model continue each block, past any EOS, by sampling its next-token distribution at temperature 1.

    Each block has its own random numbers and does not depend on the others, except where rounding in a larger
    batch moves a probability across such a number.

    Args:
        model: the model that writes.
        blocks: tokens [blocks, length].
        kept: number of first tokens of each block that stay, at least one and less than its length.
        seed: the number of the draw.
        corpus: name of the corpus, for the seed.
        at_once: most tokens in the KV cache.

    Returns:
        Blocks of the same shape and dtype.
    """
    count, length = blocks.shape
    numbers = torch.stack([_numbers(length - kept, seed, corpus, block) for block in range(count)])
    written = blocks.clone()
    batch = max(1, at_once // length)
    with tqdm(total=count * (length - kept), desc="continuing texts", unit="token") as bar:
        for part, drawn in zip(written.split(batch), numbers.split(batch), strict=True):
            cache, read = DynamicCache(config=model.config), part[:, :kept]
            for place in range(kept, length):
                scores = next_logits(model, read.to(model.device, torch.int64), cache)
                part[:, place] = draw_tokens(scores.double(), drawn[:, place - kept]).cpu()
                read = part[:, place : place + 1]
                bar.update(len(part))
    return written


def _numbers(count: int, seed: int, corpus: str, block: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "continued", corpus, block))
    return torch.rand(count, generator=generator, dtype=torch.float64)
