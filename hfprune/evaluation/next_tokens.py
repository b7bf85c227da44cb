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

LEVELS = (0.1, 0.5, 0.9)  # quantiles of the entropy over positions; one position is shown for each
TOKENS = 8  # number of most likely tokens shown at a position
CONTEXT = 12  # tokens of context shown as text


@torch.inference_mode()
def distributions(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", blocks: Tensor, batch: int
) -> tuple[Tensor, pd.DataFrame]:
    """Return the entropy at all positions, and the most likely tokens where it is low, medium and high.

    Args:
        model: the dense model.
        tokenizer: turns tokens into text.
        blocks: tokens [blocks, length].
        batch: blocks of one forward pass.

    Returns:
        Entropies in nats, float64 [blocks, length - 1]; and one row per position shown and token, the most likely
        first, then the true one if it is another: `item`, `level` (the quantile of the position's entropy),
        `entropy` (nats), `context` (text), `token` (text), `rank` (from 1), `is_target`, `probability`, and the
        derivatives of the two objectives (nats) with respect to the token's logit: `cross_entropy_gradient`
        (p − onehot) and `entropy_gradient` (−p (ln p + H)).
    """
    tokens = blocks.to(model.device, torch.int64)
    states = torch.cat([hidden_states(model, part)[:, :-1] for part in tokens.split(batch)]).flatten(0, 1)
    targets = tokens[:, 1:].flatten().to(states.device)
    entropies = torch.cat([Entropy().objective(logits, Positions()) for _, logits in chunks(model, states)])
    chosen = entropies.argsort()[[round(level * (len(entropies) - 1)) for level in LEVELS]]
    parts = []
    for level, index in zip(LEVELS, chosen.tolist(), strict=True):
        block, position = divmod(index, tokens.shape[1] - 1)
        context = tokens[block, max(0, position + 1 - CONTEXT) : position + 1]
        part = _position(logits(model, states[[index]]).float(), targets[[index]], tokenizer)
        of_position = {
            "level": level,
            "entropy": float(entropies[index]),
            "context": tokenizer.decode(context),
        }
        parts.append(pd.DataFrame(of_position, part.index).join(part))
    items = pd.concat(parts, ignore_index=True)
    items.insert(0, "item", range(len(items)))
    return entropies.double().view(len(tokens), -1), items


def _position(logits: Tensor, target: Tensor, tokenizer: "PreTrainedTokenizerBase") -> pd.DataFrame:
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
    return pd.DataFrame(
        {
            "token": [tokenizer.decode([token]) for token in shown.tolist()],
            "rank": ranks.cpu().numpy() + 1,
            "is_target": (shown == target).cpu().numpy(),
            **{name: values[0, shown].double().cpu().numpy() for name, values in columns.items()},
        }
    )
