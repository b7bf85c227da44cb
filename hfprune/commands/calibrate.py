"""Draw seeded blocks of tokens from a corpus."""

from pydantic import Field, PositiveInt

from hfprune.assets.text import Sampling, Text
from hfprune.commands.flags import Corpus, DenseModel, Safetensors, Seed
from hfprune.commands.target import draw_blocks
from hfprune.settings import Strict

EXAMPLE = (
    "hfprune calibrate --model resources/models/smollm2-135m-instruct-q4 --corpus resources/corpora/c4-sample "
    "--sequences 16 --length 256 --sampling pack --out blocks.safetensors"
)


class Config(Strict):
    """Flags of `hfprune calibrate`."""

    model: DenseModel
    corpus: Corpus
    sequences: PositiveInt = Field(description="number of blocks")
    length: PositiveInt = Field(description="tokens per block")
    sampling: Sampling = Text.model_fields["sampling"]  # type: ignore[assignment]
    seed: Seed = 0
    out: Safetensors


def run(config: Config) -> None:
    """Draw the blocks and write them with their provenance."""
    from hfprune.blocks import save_blocks
    from hfprune.provenance import Stopwatch, provenance, stable

    watch = Stopwatch()
    settings = config.model_dump(include={"sequences", "length", "sampling", "seed"})
    blocks, documents = draw_blocks(config.model, config.corpus, place="calibration", **settings)
    inputs = {"model": config.model, "corpus": config.corpus}
    settings |= {"corpus": config.corpus.name}
    save_blocks(config.out, blocks, stable(provenance(watch, inputs, **settings)), documents)
