"""A few words by the dense and the pruned model, from the same beginning."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from hfprune.files import write_json
from hfprune.provenance import is_current, origin
from hfprune.stages import Output, Stage
from hfprune.stages.target import Pruned

PROMPT, TOKENS = "The capital of France is", 24


class Sample(Stage, Pruned):
    out: Annotated[Path, Output()] = Field(description="JSON file")

    def run(self) -> bool | None:
        """Let both models continue the prompt, each with its likeliest tokens."""
        import torch

        from hfprune.evaluation.timing import decode, prefill
        from hfprune.models.load import load_model, load_tokenizer

        inputs, settings = {"model": self.model} | self.change_inputs(), {"dtype": self.dtype}
        if is_current(self.out, [], inputs, settings):
            return False
        tokenizer = load_tokenizer(self.model)
        model = load_model(self.model, self.dtype)
        tokens = torch.tensor([tokenizer(PROMPT)["input_ids"]])
        said = {}
        for side in ("before", "after"):
            model = self.change(model) if side == "after" else model
            first, cache = prefill(model, tokens.to(model.device))
            words = torch.cat([first, decode(model, first, cache, TOKENS - 1)], 1)[0]
            said[side] = tokenizer.decode(words, skip_special_tokens=True)
        write_json(self.out, {"prompt": PROMPT} | said | {"provenance": origin(inputs, settings)})
        return True
