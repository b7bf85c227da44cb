"""The entropy of the output distribution, the objective of the paper's criterion: does pruning make it flatter?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.cells.items import block_items, mean_value
from hfprune.evaluation.measured_model import Subject, block_means
from hfprune.measurement import Metric, Outcome, TextMeasure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class OutputEntropy(TextMeasure):
    """Mean entropy of the next-token distributions in nats; one item per block, the mean over its tokens."""

    def metrics(self) -> list[Metric]:
        """Return the entropy, of which neither more nor less is better."""
        return [Metric("output_entropy", "Entropy", "nats", shown="{:.3f}", items=("output_entropy",))]

    def run(self, subject: Subject) -> Outcome:
        """Read every block."""
        import pandas as pd

        tokens, documents = subject.blocks(self)
        means = block_means(subject, tokens, self.batch_tokens, _entropies)
        items = block_items(documents, pd.DataFrame({"output_entropy": means}))
        return Outcome([mean_value("output_entropy", items)], items)


def _entropies(model: PreTrainedModel, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Return the entropy of each position's next-token distribution in nats [blocks, length]."""
    import torch

    from hfprune.criteria import Positions
    from hfprune.criteria.entropy import Entropy
    from hfprune.models.head import chunks

    entropies = [
        Entropy().objective(logits, Positions()) for _, logits in chunks(model, hidden.flatten(0, 1))
    ]
    return torch.cat(entropies).view_as(tokens)
