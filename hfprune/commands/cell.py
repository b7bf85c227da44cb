"""Take several measures of one model, dense, pruned or recovered, which is loaded once."""

from pydantic import Field

from hfprune.commands.measured import Measured
from hfprune.errors import HfpruneError
from hfprune.measures import Measure
from hfprune.settings import Name
from hfprune.study.study import StudyMeasure

EXAMPLE = (
    "hfprune cell --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors --out by-hand "
    "--measures "
    """'{"wikitext": {"corpus": "wikipedia-sample", "length": 256}, "zeroshot": {"tasks": ["piqa"]}}'"""
)


class Config(Measured):
    """Flags of `hfprune cell`."""

    measures: dict[Name, StudyMeasure] = Field(
        min_length=1, description="the measures as JSON, with the keys of the section `measures` of a study"
    )

    def made(self) -> dict[str, Measure]:
        """Return the measures by name.

        Raises:
            HfpruneError: a measure or setting is unknown, or is not taken on such a model together with others.
        """
        found = {name: entry.make(name, f"--measures: {name}") for name, entry in self.measures.items()}
        for name, measure in found.items():
            self.check(name, type(measure))
            if measure.needs == "criterion" or (measure.dtype and len(found) > 1):
                raise HfpruneError(f"--measures: {name} is taken alone, by `hfprune measure`")
        if self.resampled and not any(measure.resampled for measure in found.values()):
            raise HfpruneError("none of --measures is measured on resampled plans: remove --resampled")
        return found


def run(config: Config) -> None:
    """Take the measures and write their results."""
    from hfprune.measuring import settled, take
    from hfprune.results import read_result, values_table
    from hfprune.study.layout import stems

    measures = {name: settled(measure) for name, measure in config.made().items()}
    dtype = next(iter(measures.values())).dtype or config.dtype
    subject, inputs, note = config.subject(dtype)
    cell = config.named_cell(config.cell)
    take(measures, subject, cell, config.out, inputs, note, config.placement(), dtype=dtype)
    files = [f"{stem}.json" for name, measure in measures.items() for stem in stems(name, measure)]
    print(values_table([read_result(config.out / file) for file in files]))
