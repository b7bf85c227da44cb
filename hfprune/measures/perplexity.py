"""Perplexity by document: on blocks of a corpus, by default one crop per document."""

from __future__ import annotations

from math import exp

from hfprune.cells import Value
from hfprune.cells.items import block_items, mean_value
from hfprune.evaluation.measured_model import Subject, block_means
from hfprune.measurement import Metric, Outcome, TextMeasure

PERPLEXITY = Metric(
    "perplexity",
    "Perplexity",
    explained="Perplexity: how surprised the model is by text that it has not seen; lower is better.",
    better="lower",
    shown="{:,.2f}",
    items=("nll",),
    effect="ratio",
)


class Perplexity(TextMeasure):
    """exp of the mean next-token cross-entropy over blocks; a block's first token has no context and no loss.

    By default each block is a random crop of a different document longer than the block, so intervals are
    over documents. The literature joins all texts into one stream and cuts it into windows instead
    (`sampling: pack` does nearly so), so long documents weigh more. One item per block, with its mean
    cross-entropy in nats as `nll`; the standard error is by the delta method.
    """

    resampled = True
    capability = "Language modelling"

    def metrics(self) -> list[Metric]:
        """Return perplexity, which is compared by ratios."""
        return [PERPLEXITY]

    def run(self, subject: Subject) -> Outcome:
        """Read every block."""
        import pandas as pd

        from hfprune.models.head import token_losses

        tokens, documents = subject.blocks(self)
        losses = block_means(subject, tokens, self.batch_tokens, token_losses)
        items = block_items(documents, pd.DataFrame({"nll": losses}))
        return Outcome([exponential(mean_value("perplexity", items, "nll"))], items)


def exponential(mean: Value) -> Value:
    """Return exp of a mean, with its standard error by the delta method."""
    value = exp(mean.value)
    return Value(mean.metric, value, mean.stderr and mean.stderr * value, mean.n)
