"""An independent reference: fidelity and perplexity in the plain way.

Both models are in memory; each block is read by both, with the float32 logits of all its positions.
"""

from math import log

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


@torch.inference_mode()
def plain_fidelity(dense, pruned, blocks: Tensor, top_k: int) -> Tensor:
    """Return JS distance, top-k Jaccard and KL(dense ‖ pruned), means over the positions of blocks [blocks, 3]."""
    rows = []
    for block in blocks:
        logits = [model(block.long().unsqueeze(0)).logits[0].float() for model in (dense, pruned)]
        log_p, log_q = (x.log_softmax(-1) for x in logits)
        log_m = torch.logaddexp(log_p, log_q) - log(2)
        js = ((log_p.exp() * (log_p - log_m)).sum(-1) + (log_q.exp() * (log_q - log_m)).sum(-1)) / 2
        kl = (log_p.exp() * (log_p - log_q)).sum(-1)
        tops = [[{*row} for row in x.topk(top_k).indices.tolist()] for x in logits]
        jaccard = torch.tensor([len(a & b) / len(a | b) for a, b in zip(*tops, strict=True)])
        rows.append(torch.stack([js.clamp_min(0).sqrt().mean(), jaccard.mean().to(js), kl.mean()]))
    return torch.stack(rows)


@torch.inference_mode()
def plain_losses(model, blocks: Tensor) -> Tensor:
    """Return the mean next-token cross-entropy of each block in nats [blocks]."""
    blocks = blocks.long().unsqueeze(1)
    return torch.stack([cross_entropy(model(x).logits[0, :-1].float(), x[0, 1:]) for x in blocks])
