"""What the dense and the pruned model write, each with its most likely tokens, from the same beginnings."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from hfprune.assets.corpora import read_corpus
from hfprune.files import write_json
from hfprune.provenance import is_current, origin
from hfprune.settings import Placement
from hfprune.stages import Output, Stage
from hfprune.stages.fields import ExistingPath
from hfprune.stages.target import Pruned

PROMPT, TOKENS = "The capital of France is", 24
# Beginnings of documents, and how many tokens each is continued by.
CROPS: dict[str, Any] = {"sequences": 32, "length": 32, "sampling": "crop", "seed": 0, "place": "measurement"}
CONTINUED = 64
# Steps of decoding by each model, by the texts that go on: a prompt, whose `TOKENS` are shown, and the documents.
STEPS = {1: TOKENS - 1, CROPS["sequences"]: CONTINUED - 1}


class Sample(Stage, Pruned, Placement):
    """What both models write: continuations of a prompt and of beginnings of documents."""

    prompts: ClassVar = 1 + CROPS["sequences"], CROPS["length"]
    """How many texts each model reads, and their tokens at most; `hfprune.cost.workload` reads both of these."""
    steps: ClassVar = STEPS

    text: ExistingPath = Field(description="text whose documents are continued, too")
    out: Annotated[Path, Output()] = Field(description="JSON file")

    def run(self) -> bool | None:
        """Let both models continue the prompt, and count what repeats itself in continuations of the text."""
        import torch
        from tqdm import tqdm

        from hfprune.calibration.blocks import sample_blocks
        from hfprune.evaluation.timing import decode, prefill
        from hfprune.models.load import load_model, load_tokenizer

        inputs = {"model": self.model, "corpus": self.text} | self.change_inputs()
        settings = {"dtype": self.dtype}
        if is_current(self.out, [], inputs, settings):
            return False
        tokenizer = load_tokenizer(self.model)
        model = load_model(self.model, self.dtype, device_map=self.device_map)
        prompt = torch.tensor([tokenizer(PROMPT)["input_ids"]])
        blocks, documents = sample_blocks(read_corpus(self.text), tokenizer, **CROPS, corpus=self.text.name)
        said: dict[str, Any] = {"prompt": PROMPT}
        shares: dict[str, list[Any]] = {"document": documents}
        with tqdm(total=2 * (TOKENS + CONTINUED), desc="continuing texts", unit="token") as bar:
            for side in ("before", "after"):
                model = self.change(model) if side == "after" else model
                texts = []
                for prompts, count in ((prompt, TOKENS), (blocks, CONTINUED)):
                    first, cache = prefill(model, prompts.to(model.device, torch.int64))
                    bar.update()
                    steps = (bar.update() for _ in range(count - 1))
                    texts += torch.cat([first, decode(model, first, cache, steps)], 1).tolist()
                said[side] = tokenizer.decode(texts[0], skip_special_tokens=True)
                shares[side] = [repeated(text, tokenizer.eos_token_id) for text in texts[1:]]
        write_json(self.out, said | {"repeated": shares, "provenance": origin(inputs, settings)})
        return True


def repeated(tokens: list[int], end: int | None, n: int = 4) -> float:
    """Return the share of n-grams that stood in the tokens before: 1 - distinct / all, or 0 where there is none.

    Tokens count up to `end`. Source: seq-rep-n of Welleck et al., "Neural Text Generation with Unlikelihood
    Training", 2020.
    """
    kept = tokens[: tokens.index(end)] if end in tokens else tokens
    grams = [*zip(*(kept[start:] for start in range(n)), strict=False)]
    return 1 - len({*grams}) / len(grams) if grams else 0.0
