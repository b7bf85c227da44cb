"""Distance of a pruned model's output distribution to the dense model's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from hfprune.evaluation.blocks import block_items, mean_stderr
from hfprune.models import head_chunk, hidden_states
from hfprune.results import Value

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def fidelity(
    dense: "PreTrainedModel",
    pruned: "PreTrainedModel",
    blocks: Tensor,
    top_k: int,
    batch_tokens: int,
    documents: Sequence[int] | None = None,
) -> tuple[list[Value], pd.DataFrame]:
    """Compare next-token distributions at every position of every block [blocks, length] (paper, Table 7).

    Metrics, each the mean over positions: `js_distance`, the square root of the Jensen–Shannon divergence in
    nats (as `scipy.spatial.distance.jensenshannon`); `top<k>_jaccard`, the Jaccard index of the k likeliest
    tokens; `kl_divergence`, KL(dense ‖ pruned) in nats. Standard errors are over the `documents` of the
    blocks (by default one each), as `mean_stderr`, of which `n` counts them. Items: one row per block.
    """
    names = ["js_distance", f"top{top_k}_jaccard", "kl_divergence"]
    size = max(1, batch_tokens // blocks.shape[1])
    rows: list[list[float]] = []
    with tqdm(total=len(blocks), desc="fidelity", unit="block") as bar:
        for batch in blocks.split(size):
            tokens = batch.to(dense.device, torch.int64)
            rows += _compare(dense, pruned, tokens, top_k).tolist()
            bar.update(len(batch))
    items = block_items(documents or range(len(blocks)), pd.DataFrame(rows, columns=names))
    values = [
        Value(
            name,
            float(items[name].mean()),
            mean_stderr(items[name], items["document"]),
            items["document"].nunique(),
        )
        for name in names
    ]
    return values, items


def _compare(dense: "PreTrainedModel", pruned: "PreTrainedModel", tokens: Tensor, top_k: int) -> Tensor:
    """Return the mean of each metric over each block's positions, float64 [blocks, metrics]."""
    a, b = (hidden_states(model, tokens).flatten(0, 1) for model in (dense, pruned))
    step = head_chunk(dense)
    parts = [
        distances(dense.lm_head(x).float(), pruned.lm_head(y).float(), top_k)
        for x, y in zip(a.split(step), b.split(step), strict=True)
    ]
    return torch.cat(parts).double().view(*tokens.shape, -1).mean(1)


def distances(dense: Tensor, pruned: Tensor, top_k: int) -> Tensor:
    """Return JS distance, top-k Jaccard and KL for logits [n, vocabulary] of two models, as [n, 3]."""
    log_p, log_q = dense.log_softmax(-1), pruned.log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    log_m = (0.5 * (p + q)).clamp_min(torch.finfo(p.dtype).tiny).log()
    js = 0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1)
    kl = (p * (log_p - log_q)).sum(-1)
    tops = [x.topk(min(top_k, x.shape[-1])).indices for x in (dense, pruned)]
    shared = (tops[0].unsqueeze(-1) == tops[1].unsqueeze(-2)).sum((-1, -2))
    jaccard = shared / (2 * tops[0].shape[-1] - shared)
    # Rounding can leave a tiny negative divergence where the distributions agree.
    return torch.stack([js.clamp_min(0).sqrt(), jaccard, kl], -1)
