"""Perplexity of one stream of text, in windows: the literature's protocol for WikiText-2 and C4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from hfprune.assets.text_sizes import blocks
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.files import read_json
from hfprune.item_outcomes import mean_value
from hfprune.measurement import CorpusMeasure, Metric, Outcome
from hfprune.measures.perplexity import PERPLEXITY, block_losses, exponential

if TYPE_CHECKING:
    from pathlib import Path


class Wikitext(CorpusMeasure):
    """exp of the mean cross-entropy over non-overlapping windows of one stream of tokens.

    The protocol is that of GPTQ, SparseGPT and Wanda (Wanda's `lib/eval.py`). The texts are joined by
    `separator` and tokenized once, with BOS at the very start if the tokenizer adds one. The stream is cut
    into windows of `length` tokens, and the rest is dropped. In each window, every token except the first is
    predicted. Windows are equally long, so the mean over windows is the mean over all predicted tokens. With a
    Gemma, which needs it, each window begins with BOS, and there is no other.
    WikiText's pages are split into the hub's lines again, since the literature joins those lines. For C4, the
    literature joins the first 1,100 documents of a validation file by a space and reads 256 windows: use a
    corpus with `documents: [0, 1100]`, `separator: " "` and `max_windows: 256`.

    The measure `perplexity` reads crops within documents instead. One item per window, with its mean
    cross-entropy in nats as `nll`; the standard error treats windows as independent and is by the delta
    method.
    """

    length: int = Field(default=2048, gt=1, description="tokens of a window")
    max_windows: PositiveInt | None = Field(
        default=None, description="windows to read, from the first; null: all"
    )
    separator: str = Field(default="\n\n", description="text between documents; ' ' in the literature for C4")

    def metrics(self) -> list[Metric]:
        """Return perplexity, which is compared by ratios."""
        return [PERPLEXITY]

    def tokens(self) -> float:
        """Return the tokens of all windows."""
        return self.length * blocks(self.corpus, self.max_windows or 1000, self.length, "pack")

    def run(self, subject: Subject) -> Outcome:
        """Read every window.

        Raises:
            HfpruneError: the corpus is missing or shorter than a window, or a window exceeds the context.
        """
        import pandas as pd
        import torch

        from hfprune.models.blocks import first_tokens, tokens_of

        model = subject.model
        context = getattr(model.config, "max_position_embeddings", self.length)
        if self.length > context:
            raise HfpruneError(f"length {self.length} is beyond the model's context of {context} tokens")
        text = self.separator.join(_texts(subject.asset("corpora", self.corpus)))
        first = first_tokens(subject.tokenizer)
        stream = torch.tensor(tokens_of(text, subject.tokenizer, first))
        size = self.length - len(first)
        count = len(stream) // size
        if not count:
            raise HfpruneError(
                f"corpus {self.corpus!r} has {len(stream)} tokens, no window of {self.length}; lower length"
            )
        windows = stream[: count * size].view(count, -1)[: self.max_windows]
        windows = torch.cat([torch.tensor(first, dtype=windows.dtype).expand(len(windows), -1), windows], 1)
        losses = block_losses(model, windows, self.batch_tokens)
        items = pd.DataFrame({"item": range(len(losses)), "nll": losses})
        return Outcome([exponential(mean_value("perplexity", items, "nll"))], items)


def _texts(folder: Path) -> list[str]:
    """Return the texts to join: the documents, or WikiText's lines as on the hub.

    On the hub a blank line is an empty text, every other line ends in a newline, and the first line is blank.
    The corpus holds pages, in which a blank line is a space.
    """
    from hfprune.assets.corpora import read_corpus

    documents = read_corpus(folder)
    if read_json(folder / "asset.json")["entry"]["format"] != "wikitext":
        return documents
    lines = [line for page in documents for line in page.split("\n")]
    return ["", *("" if line == " " else f"{line}\n" for line in lines)]
