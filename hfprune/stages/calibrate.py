"""Draw seeded blocks of tokens from a corpus."""

import sys
from typing import Annotated, ClassVar

from hfprune.assets.text import Blocks
from hfprune.provenance import is_recorded, origin, stable
from hfprune.stages import Inline, Output, Stage
from hfprune.stages.fields import Corpus, DenseModel, Safetensors, Seed
from hfprune.stages.target import draw_blocks


class Calibrate(Stage):
    """The blocks of a corpus, as the tokenizer of a model reads them."""

    example: ClassVar = (
        "hfprune calibrate --model resources/models/smollm2-135m-instruct-q4 --corpus resources/corpora/c4-sample "
        "--sequences 16 --length 256 --sampling pack --out blocks.safetensors"
    )

    model: DenseModel
    corpus: Corpus
    blocks: Annotated[Blocks, Inline()]
    seed: Seed = 0
    out: Annotated[Safetensors, Output()]

    def run(self) -> bool | None:
        """Draw the blocks and write them with their provenance."""
        from hfprune.calibration.blocks import save_blocks, too_few

        settings = self.model_dump()["blocks"] | {"seed": self.seed}
        made = settings | {"corpus": self.corpus.name}
        if is_recorded(self.out, self.sources(), made):
            return False
        blocks, documents = draw_blocks(self.model, self.corpus, place="calibration", **settings)
        if line := too_few(self.corpus.name, len(blocks), self.blocks.sequences, self.blocks.sampling):
            print(line, file=sys.stderr)
        save_blocks(self.out, blocks, stable(origin(self.sources(), made)), documents)
        return True
