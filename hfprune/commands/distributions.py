"""Show some next-token distributions of the dense model, with the gradients that criteria take."""

from pydantic import Field

from hfprune.commands.flags import ComputeDtype, DenseModel, ExistingPath, Parquet
from hfprune.models.placement import Placement

EXAMPLE = (
    "hfprune distributions --model resources/models/smollm2-135m-instruct-q4 --blocks blocks.safetensors "
    "--out distributions.parquet"
)


class Config(Placement):
    """Flags of `hfprune distributions`."""

    model: DenseModel
    blocks: ExistingPath = Field(description="calibration blocks; the first few are read")
    dtype: ComputeDtype = None
    out: Parquet


def run(config: Config) -> None:
    """Read the model and the blocks and write the table with its provenance."""
    from hfprune.blocks import load_blocks
    from hfprune.evaluation.distributions import distributions
    from hfprune.files import atomic_file
    from hfprune.models.load import load_model, load_tokenizer
    from hfprune.provenance import Stopwatch, provenance, stable

    watch = Stopwatch()
    blocks, tokenizer = load_blocks(config.blocks), load_tokenizer(config.model)
    model = load_model(config.model, config.dtype, **config.placement())
    table = distributions(model, tokenizer, blocks)
    inputs = {"model": config.model, "blocks": config.blocks}
    table.attrs["provenance"] = stable(provenance(watch, inputs, dtype=config.dtype))
    with atomic_file(config.out) as temporary:
        table.to_parquet(temporary, index=False)
