"""Generation as in stock lm-eval, except that a shared beginning is read once and each row ends by itself."""

from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from hfprune.evaluation.beginning import Beginning

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerBase


class StopPerRow(StoppingCriteria):
    """Ends a row at any of the stop sequences.

    In stock lm-eval, rows go on until the same sequence has occurred in all of them; what follows the first stop
    sequence of a row is cut off afterwards.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", stop: list[str], start: int) -> None:
        """Look for `stop` after the first `start` tokens."""
        self.tokenizer, self.stop, self.start = tokenizer, stop, start
        # As in stock lm-eval: two more tokens, since a sequence may be spelt by other tokens than its own.
        lengths = [len(tokenizer.encode(word, add_special_tokens=False)) for word in stop]
        self.back = max(lengths, default=0) + 2

    def __call__(self, input_ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
        """Return whether each row [rows] has ended."""
        ends = self.tokenizer.batch_decode(input_ids[:, self.start :][:, -self.back :])
        ended = [any(word in text for word in self.stop) for text in ends]
        return torch.tensor(ended, device=input_ids.device)


def generate(
    lm: "HFLM", context: Tensor, max_length: int, stop: list[str], begun: Beginning | None, **options: Any
) -> Tensor:
    """Return left-padded prompts [rows, length] and their continuations, as `HFLM._model_generate` does.

    If a beginning has been read, the padding moves behind it.
    """
    # As in stock lm-eval: without a temperature, or with 0, decoding is greedy.
    options.setdefault("temperature", 0.0)
    if options["temperature"] == 0.0 and options.get("do_sample") is None:
        options["do_sample"] = False
    if options.get("do_sample") is False and options["temperature"] == 0.0:
        del options["temperature"]
    seen = options.pop("attention_mask")
    if begun:
        count, rows = len(begun.tokens), len(context)
        at_front = torch.arange(context.shape[1], device=context.device).expand_as(context)
        padding = (seen == 0).sum(1, keepdim=True)
        # Row by row: the beginning, then the padding, then the rest.
        source = torch.where(at_front < count, at_front + padding, at_front - count)
        source = torch.where(at_front >= count + padding, at_front, source)
        context, seen = context.gather(1, source), seen.gather(1, source)
        named = "cache" if "cache" in signature(type(lm.model).forward).parameters else "past_key_values"
        options[named] = begun.cache(rows)
    return lm.model.generate(
        input_ids=context,
        attention_mask=seen,
        max_length=max_length,
        stopping_criteria=StoppingCriteriaList([StopPerRow(lm.tokenizer, stop, context.shape[1])]),
        pad_token_id=lm.tokenizer.pad_token_id,
        use_cache=True,
        **options,
    )
