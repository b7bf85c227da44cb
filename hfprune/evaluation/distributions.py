"""What the criteria see in real next-token distributions (the idea of the paper's Figure 1)."""

from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.entropy import Entropy
from hfprune.models import head_chunk, hidden_states
from hfprune.scoring import Positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SEQUENCES = 4  # read from the start of the blocks
LEVELS = (0.1, 0.5, 0.9)  # quantiles of the entropy over the positions, at which one is shown each
TOKENS = 8  # the likeliest, shown at a position
CONTEXT = 12  # tokens of the context, in its text


@torch.inference_mode()
def distributions(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", blocks: Tensor
) -> pd.DataFrame:
    """Return the likeliest tokens, and the true one, at positions of low, middling and high entropy.

    Args:
        model: the dense model.
        tokenizer: turns tokens into text.
        blocks: calibration blocks [blocks, length].

    Returns:
        One row per position and token, the likeliest first: `level` (the quantile of the position's entropy),
        `entropy` (nats), `context` (text), `token` (text), `rank` (from 1), `is_target`, `probability`, and the
        derivatives of the two objectives in nats with respect to the token's logit, `cross_entropy_gradient`
        (p − onehot) and `entropy_gradient` (−p (ln p + H)).
    """
    tokens = blocks[:SEQUENCES].to(model.device, torch.int64)
    states, targets = hidden_states(model, tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
    chunks = (model.lm_head(chunk).float() for chunk in states.split(head_chunk(model)))
    entropies = torch.cat([Entropy().objective(logits, Positions()) for logits in chunks])
    places = entropies.argsort()[[round(level * (len(entropies) - 1)) for level in LEVELS]]
    parts = []
    for level, place in zip(LEVELS, places.tolist(), strict=True):
        block, position = divmod(place, tokens.shape[1] - 1)
        context = tokens[block, max(0, position + 1 - CONTEXT) : position + 1]
        part = _position(model.lm_head(states[[place]]).float(), targets[[place]], tokenizer)
        part.insert(0, "context", tokenizer.decode(context))
        part.insert(0, "entropy", float(entropies[place]))
        part.insert(0, "level", level)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _position(logits: Tensor, target: Tensor, tokenizer: "PreTrainedTokenizerBase") -> pd.DataFrame:
    """Describe the likeliest tokens at one position, given logits [1, vocabulary] and the true token [1]."""
    order = logits[0].argsort(descending=True, stable=True)
    rank = (order == target).nonzero()[0]
    ranks = torch.arange(min(TOKENS, len(order)), device=order.device)
    ranks = torch.cat([ranks, rank[rank >= len(ranks)]])
    shown, positions = order[ranks], Positions(targets=target)
    columns = {
        "probability": logits.softmax(-1),
        "cross_entropy_gradient": CrossEntropy().gradient(logits.clone(), positions),
        "entropy_gradient": Entropy().gradient(logits.clone(), positions),
    }
    table = pd.DataFrame({name: values[0, shown].double().cpu().numpy() for name, values in columns.items()})
    table.insert(0, "is_target", (shown == target).cpu().numpy())
    table.insert(0, "rank", ranks.cpu().numpy() + 1)
    table.insert(0, "token", [tokenizer.decode([token]) for token in shown.tolist()])
    return table
