"""How much greedy text repeats itself."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from hfprune.evaluation.measured_model import Subject, batch_size
from hfprune.item_outcomes import block_items, mean_value
from hfprune.measurement import DECODED, Metric, Outcome, TextMeasure


class Repetition(TextMeasure):
    """Share of the n-grams in a greedy continuation that stood in it before: 1 - distinct / all, up to EOS.

    `length` tokens of a document are the prompt, and one item. Source: seq-rep-n of Welleck et al., "Neural Text
    Generation with Unlikelihood Training", 2020.
    """

    new_tokens: int = Field(default=64, gt=1, description="tokens of a continuation")
    ngram: PositiveInt = Field(default=4, description="tokens of an n-gram")

    def metrics(self) -> list[Metric]:
        """Return the share of repeated n-grams."""
        shown: dict[str, Any] = {"unit": "%", "shown": "{:.1f}", "scale": 100}
        return [Metric("repeated", "Repeated n-grams", better="lower", items=("repeated",), **shown)]

    def tokens(self) -> float:
        """Return the tokens of the prompts, and what decoding counts, of all prompts at once."""
        return self.blocks_to_read() * (self.length + self.new_tokens) + DECODED * self.new_tokens

    def run(self, subject: Subject) -> Outcome:
        """Continue every prompt."""
        import pandas as pd
        import torch

        from hfprune.evaluation.timing import decode, prefill

        blocks, documents = subject.blocks(self)
        model, end, shares = subject.model, subject.tokenizer.eos_token_id, []
        for batch in blocks.split(batch_size(self.batch_tokens, self.length + self.new_tokens)):
            first, cache = prefill(model, batch.to(model.device, torch.int64))
            text = torch.cat([first, decode(model, first, cache, self.new_tokens - 1)], 1)
            shares += [repeated(row, end, self.ngram) for row in text.tolist()]
        items = block_items(documents, pd.DataFrame({"repeated": shares}))
        return Outcome([mean_value("repeated", items)], items)


def repeated(tokens: list[int], end: int | None, n: int) -> float:
    """Return the share of n-grams that stood in the tokens before; 0 where there is none before `end`."""
    kept = tokens[: tokens.index(end)] if end in tokens else tokens
    grams = [*zip(*(kept[start:] for start in range(n)), strict=False)]
    return 1 - len({*grams}) / len(grams) if grams else 0.0
