"""Draw seeded blocks of tokens from a corpus."""

import sys
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from hfprune.assets.text import Blocks
from hfprune.errors import HfpruneError
from hfprune.provenance import is_recorded, origin, stable
from hfprune.settings import Dtype, Placement
from hfprune.stages import Inline, Output, Stage
from hfprune.stages.fields import Corpus, DenseModel, Safetensors, Seed
from hfprune.study.calibration import ContinuedAfter

if TYPE_CHECKING:
    from torch import Tensor


class Calibrate(Stage, Placement):
    """Blocks of a corpus in the tokens of a model, perhaps continued by the model itself."""

    example: ClassVar = (
        "hfprune calibrate --model resources/models/smollm2-135m-instruct-q4 --corpus resources/corpora/c4-sample "
        "--sequences 16 --length 256 --sampling pack --out blocks.safetensors"
    )

    model: DenseModel
    corpus: Corpus
    blocks: Annotated[Blocks, Inline()]
    continued_after: ContinuedAfter = None
    dtype: Dtype = Field(default="float32", description="precision in which the model continues blocks")
    seed: Seed = 0
    out: Annotated[Safetensors, Output()]

    @property
    def takes(self) -> Literal["core", "device", "machine"]:
        """A device if the model continues blocks, else a core."""
        return "device" if self.continued_after else "core"

    def run(self) -> bool | None:
        """Draw the blocks, let the model continue them if asked for, and write them with their provenance."""
        from hfprune.assets.corpora import read_corpus
        from hfprune.calibration.blocks import sample_blocks, save_blocks, too_few
        from hfprune.models.load import load_tokenizer

        settings = self.model_dump()["blocks"] | {"seed": self.seed}
        recorded = settings | {"corpus": self.corpus.name}
        if self.continued_after:
            recorded |= {"continued_after": self.continued_after, "dtype": self.dtype}
        if is_recorded(self.out, self.sources(), recorded):
            return False
        texts, tokenizer = read_corpus(self.corpus), load_tokenizer(self.model)
        blocks, documents = sample_blocks(texts, tokenizer, corpus=self.corpus.name, **settings)
        if line := too_few(self.corpus.name, len(blocks), self.blocks.sequences, self.blocks.sampling):
            print(line, file=sys.stderr)
        if self.continued_after:
            blocks = self._continued(blocks, self.continued_after)
        save_blocks(self.out, blocks, stable(origin(self.sources(), recorded)), documents)
        return True

    def _continued(self, blocks: "Tensor", after: int) -> "Tensor":
        from hfprune.calibration.blocks import first_tokens
        from hfprune.models.continuing import continued
        from hfprune.models.load import load_model, load_tokenizer

        kept = after + len(first_tokens(load_tokenizer(self.model)))
        if kept >= self.blocks.length:
            raise HfpruneError(
                f"--continued-after {after} leaves nothing to write of {self.blocks.length} tokens (a Gemma's "
                "begin with BOS): give a smaller number, or a longer --length"
            )
        model = load_model(self.model, self.dtype, device_map=self.device_map)
        return continued(model, blocks, kept, seed=self.seed, corpus=self.corpus.name)
