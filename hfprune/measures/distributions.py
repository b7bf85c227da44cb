"""Next-token distributions of the dense model, and what criteria see in them (after the paper's Figure 1)."""

from __future__ import annotations

from hfprune.cells.items import block_items, mean_value
from hfprune.evaluation.measured_model import Subject, batch_size
from hfprune.measurement import Metric, Outcome, TextMeasure


class Distributions(TextMeasure):
    """Entropy of the next-token distributions in nats, the mean over all positions of all blocks, for a figure.

    The items are those of `hfprune.evaluation.next_tokens`: the most likely tokens at three positions, with low,
    medium and high entropy. The standard error is over documents.
    """

    needs = "dense"

    def metrics(self) -> list[Metric]:
        """Return the entropy."""
        return [Metric("entropy", "Entropy", "nats")]

    def run(self, subject: Subject) -> Outcome:
        """Read every block."""
        import pandas as pd

        from hfprune.evaluation.next_tokens import distributions

        tokens, documents = subject.blocks(self)
        batch = batch_size(self.batch_tokens, self.length)
        entropies, items = distributions(subject.model, subject.tokenizer, tokens, batch)
        blocks = block_items(documents, pd.DataFrame({"entropy": entropies.mean(1).tolist()}))
        return Outcome([mean_value("entropy", blocks)], items)
