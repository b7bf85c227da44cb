"""The entropy of the output distribution, the objective of the paper's criterion: does pruning make it flatter?"""

from __future__ import annotations

from hfprune.evaluation.measured_model import Subject
from hfprune.item_outcomes import block_items, mean_value
from hfprune.measurement import Metric, Outcome, TextMeasure


class OutputEntropy(TextMeasure):
    """Mean entropy of the next-token distributions in nats; one item per block, the mean over its tokens."""

    def metrics(self) -> list[Metric]:
        """Return the entropy, of which neither more nor less is better."""
        return [Metric("output_entropy", "Entropy", "nats", shown="{:.3f}", items=("output_entropy",))]

    def run(self, subject: Subject) -> Outcome:
        """Read every block."""
        import pandas as pd
        import torch

        from hfprune.criteria import Positions
        from hfprune.criteria.entropy import Entropy
        from hfprune.models.head import chunks, hidden_states

        tokens, documents = subject.blocks(self)
        found = []
        with torch.inference_mode():
            for block in tokens.to(subject.model.device, torch.int64):
                hidden = hidden_states(subject.model, block.unsqueeze(0)).flatten(0, 1)
                parts = [
                    Entropy().objective(logits, Positions()) for _, logits in chunks(subject.model, hidden)
                ]
                found.append(float(torch.cat(parts).double().mean()))
        items = block_items(documents, pd.DataFrame({"output_entropy": found}))
        return Outcome([mean_value("output_entropy", items)], items)
