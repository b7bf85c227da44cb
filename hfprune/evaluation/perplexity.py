"""Perplexity on blocks of a corpus."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from hfprune.evaluation.blocks import block_items, mean_stderr
from hfprune.models import head_chunk, hidden_states
from hfprune.results import Value

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def perplexity(
    model: "PreTrainedModel", blocks: Tensor, batch_tokens: int, documents: Sequence[int] | None = None
) -> tuple[list[Value], pd.DataFrame]:
    """Return exp of the mean next-token cross-entropy over all blocks [blocks, length].

    A block's first token has no context and is not scored. The standard error is over the `documents` of the
    blocks (by default one each), as `mean_stderr`, by the delta method. Items: one row per block with its mean
    cross-entropy in nats, `nll`.
    """
    size = max(1, batch_tokens // blocks.shape[1])
    losses: list[float] = []
    with tqdm(total=len(blocks), desc="perplexity", unit="block") as bar:
        for batch in blocks.split(size):
            tokens = batch.to(model.device, torch.int64)
            losses += _block_losses(model, tokens).tolist()
            bar.update(len(batch))
    items = block_items(documents or range(len(blocks)), pd.DataFrame({"nll": losses}))
    value = torch.tensor(losses, dtype=torch.float64).mean().exp().item()
    stderr = mean_stderr(items["nll"], items["document"])
    return [Value("perplexity", value, stderr and value * stderr, items["document"].nunique())], items


def _block_losses(model: "PreTrainedModel", tokens: Tensor) -> Tensor:
    """Return the mean cross-entropy [blocks] in nats, float64."""
    hidden = hidden_states(model, tokens)[:, :-1].flatten(0, 1)
    targets = tokens[:, 1:].flatten()
    step = head_chunk(model)
    losses = [
        cross_entropy(model.lm_head(h).float(), t, reduction="none")
        for h, t in zip(hidden.split(step), targets.split(step), strict=True)
    ]
    return torch.cat(losses).double().view(len(tokens), -1).mean(1)
