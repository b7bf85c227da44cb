"""Draw seeded blocks of tokens from a corpus."""

import sys

from pydantic import Field, PositiveInt

from hfprune.assets.text import Sampling, Text
from hfprune.provenance import origin, stable
from hfprune.settings import Strict
from hfprune.stages.fields import Corpus, DenseModel, Safetensors, Seed
from hfprune.stages.target import draw_blocks

EXAMPLE = (
    "hfprune calibrate --model resources/models/smollm2-135m-instruct-q4 --corpus resources/corpora/c4-sample "
    "--sequences 16 --length 256 --sampling pack --out blocks.safetensors"
)


class Config(Strict):
    """Flags of `hfprune calibrate`."""

    model: DenseModel
    corpus: Corpus
    sequences: PositiveInt = Field(description="number of blocks")
    length: int = Field(gt=1, description="tokens per block; the first has nothing to be predicted from")
    sampling: Sampling = Text.model_fields["sampling"]  # type: ignore[assignment]
    seed: Seed = 0
    out: Safetensors


def run(config: Config) -> None:
    """Draw the blocks and write them with their provenance."""
    from hfprune.blocks import save_blocks

    settings = config.model_dump(include={"sequences", "length", "sampling", "seed"})
    blocks, documents = draw_blocks(config.model, config.corpus, place="calibration", **settings)
    if len(blocks) < config.sequences:
        print(
            f"calibrate: {config.corpus.name} fills {len(blocks):,} of {config.sequences:,} blocks",
            file=sys.stderr,
        )
    inputs = {"model": config.model, "corpus": config.corpus}
    settings |= {"corpus": config.corpus.name}
    save_blocks(config.out, blocks, stable(origin(inputs, settings)), documents)
