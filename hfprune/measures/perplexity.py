"""Perplexity by document: on blocks of a corpus, by default one crop per document."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

from pydantic import Field

from hfprune.evaluation.item_outcomes import block_items, mean_value
from hfprune.evaluation.measured_model import Subject, batch_size
from hfprune.measures import Metric, Outcome, TextMeasure
from hfprune.results import Value

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.evaluation.work import Case, Work

PERPLEXITY = Metric(
    "perplexity", "Perplexity", better="lower", shown="{:,.2f}", items=("nll",), effect="ratio"
)


class Perplexity(TextMeasure):
    """exp of the mean next-token cross-entropy over blocks; a block's first token has no context and no loss.

    By default each block is a random crop of a different document longer than the block, so intervals are
    over documents. The measure `wikitext` follows the literature instead: it joins all texts into one stream
    and cuts it into windows, so long documents weigh more, short ones count, and a window may cross
    documents. The two numbers are not comparable. One item per block, with its mean cross-entropy in nats as
    `nll`; the standard error is by the delta method.
    """

    resampled = True

    length: int = Field(gt=1, description="tokens per block; the first has no loss")

    def metrics(self) -> list[Metric]:
        """Return perplexity, which is compared by ratios."""
        return [PERPLEXITY]

    def work(self, case: Case) -> Work:
        """Return the work of reading every block, and again by the masked dense model for each resampled plan."""
        size = (self.blocks_to_read(), self.length, self.length - 1)
        masked = case.read(*size, shape=case.dense, batch_tokens=self.batch_tokens) * case.resamples
        return case.read(*size, batch_tokens=self.batch_tokens) + masked

    def run(self, subject: Subject) -> Outcome:
        """Read every block."""
        import pandas as pd
        import torch
        from tqdm import tqdm

        tokens, documents = subject.blocks(self)
        model = subject.model
        losses: list[float] = []
        with torch.inference_mode(), tqdm(total=len(tokens), desc="perplexity", unit="block") as bar:
            for batch in tokens.split(batch_size(self.batch_tokens, self.length)):
                found = token_losses(model, batch.to(model.device, torch.int64))
                losses += found.mean(1).tolist()
                bar.update(len(batch))
        items = block_items(documents, pd.DataFrame({"nll": losses}))
        return Outcome([exponential(mean_value("perplexity", items, "nll"))], items)


def token_losses(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Return the cross-entropy in nats of each token except the first, float64 [blocks, length - 1]."""
    import torch
    from torch.nn.functional import cross_entropy

    from hfprune.models.head import chunks, hidden_states

    hidden = hidden_states(model, tokens)[:, :-1].flatten(0, 1)
    targets = tokens[:, 1:].flatten().to(hidden.device)
    losses = [
        cross_entropy(logits, targets[part], reduction="none") for part, logits in chunks(model, hidden)
    ]
    return torch.cat(losses).double().view(len(tokens), -1)


def exponential(mean: Value) -> Value:
    """Return exp of a mean, with its standard error by the delta method."""
    value = exp(mean.value)
    return Value(mean.metric, value, mean.stderr and mean.stderr * value, mean.n)
