"""Real next-token distributions and the criteria's gradients at them (the idea of the paper's Figure 1)."""

from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from hfprune.criteria import Positions
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.entropy import Entropy
from hfprune.models.head import chunks, hidden_states, logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SEQUENCES = 4  # blocks to read, from the start
LEVELS = (0.1, 0.5, 0.9)  # quantiles of the entropy over positions; one position is shown for each
TOKENS = 8  # likeliest tokens shown at a position
CONTEXT = 12  # tokens of context shown as text


@torch.inference_mode()
def distributions(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", blocks: Tensor
) -> pd.DataFrame:
    """Return the likeliest tokens, and the true one, at positions of low, medium and high entropy.

    Args:
        model: the dense model.
        tokenizer: turns tokens into text.
        blocks: calibration blocks [blocks, length].

    Returns:
        One row per position and token, the likeliest first: `level` (the quantile of the position's entropy),
        `entropy` (nats), `context` (text), `token` (text), `rank` (from 1), `is_target`, `probability`, and the
        derivatives of the two objectives (nats) with respect to the token's logit: `cross_entropy_gradient`
        (p − onehot) and `entropy_gradient` (−p (ln p + H)).
    """
    tokens = blocks[:SEQUENCES].to(model.device, torch.int64)
    states = hidden_states(model, tokens)[:, :-1].flatten(0, 1)
    targets = tokens[:, 1:].flatten().to(states.device)
    entropies = torch.cat([Entropy().objective(found, Positions()) for _, found in chunks(model, states)])
    places = entropies.argsort()[[round(level * (len(entropies) - 1)) for level in LEVELS]]
    parts = []
    for level, place in zip(LEVELS, places.tolist(), strict=True):
        block, position = divmod(place, tokens.shape[1] - 1)
        context = tokens[block, max(0, position + 1 - CONTEXT) : position + 1]
        part = _position(logits(model, states[[place]]).float(), targets[[place]], tokenizer)
        part.insert(0, "context", tokenizer.decode(context))
        part.insert(0, "entropy", float(entropies[place]))
        part.insert(0, "level", level)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _position(found: Tensor, target: Tensor, tokenizer: "PreTrainedTokenizerBase") -> pd.DataFrame:
    """Describe the likeliest tokens at one position by its logits `found` [1, vocabulary] and true token [1]."""
    order = found[0].argsort(descending=True, stable=True)
    rank = (order == target).nonzero()[0]
    ranks = torch.arange(min(TOKENS, len(order)), device=order.device)
    ranks = torch.cat([ranks, rank[rank >= len(ranks)]])
    shown, positions = order[ranks], Positions(targets=target)
    columns = {
        "probability": found.softmax(-1),
        "cross_entropy_gradient": CrossEntropy().gradient(found.clone(), positions),
        "entropy_gradient": Entropy().gradient(found.clone(), positions),
    }
    table = pd.DataFrame({name: values[0, shown].double().cpu().numpy() for name, values in columns.items()})
    table.insert(0, "is_target", (shown == target).cpu().numpy())
    table.insert(0, "rank", ranks.cpu().numpy() + 1)
    table.insert(0, "token", [tokenizer.decode([token]) for token in shown.tolist()])
    return table
