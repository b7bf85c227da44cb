"""Text that a model writes itself: it continues blocks of tokens by draws from its own distribution."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache

from hfprune.devices.batches import WRITTEN_AT_ONCE
from hfprune.models.head import next_logits
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
    """Let a model write each block on, past any EOS, from its own next-token distribution at temperature 1.

    Each block has random numbers of its own, so it does not depend on the others, but where rounding in a larger
    batch moves a probability across such a number.

    Args:
        model: the model that writes.
        blocks: tokens [blocks, length].
        kept: the first tokens of each block that stay, at least one and fewer than its length.
        seed: the number of the draw.
        corpus: the name of the corpus, for the seed.
        at_once: tokens in the KV cache at a time.

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
                part[:, place] = draw_tokens(scores, drawn[:, place - kept])
                read = part[:, place : place + 1]
                bar.update(len(part))
    return written


def draw_tokens(logits: Tensor, numbers: Tensor) -> Tensor:
    """Draw a token from the softmax of each row by inverse transform sampling.

    Args:
        logits: [rows, vocabulary].
        numbers: float64 [rows], uniform in [0, 1).

    Returns:
        Tokens [rows] on the CPU: the first whose cumulative probability exceeds the row's number.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    # Rounded, they end near 1, and not at it.
    wanted = numbers.to(cumulative.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, wanted, right=True)[:, 0].cpu()


def _numbers(count: int, seed: int, corpus: str, block: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "continued", corpus, block))
    return torch.rand(count, generator=generator, dtype=torch.float64)
