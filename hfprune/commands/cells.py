"""Take several measures of models that come from one dense model, pruned or recovered, in one process."""

from pathlib import Path
from typing import Any

from pydantic import Field

from hfprune.commands.flags import ComputeDtype, DenseModel
from hfprune.commands.measured import Measured
from hfprune.errors import HfpruneError
from hfprune.measures import Measure
from hfprune.models.placement import Placement
from hfprune.settings import Name, validate
from hfprune.study.study import StudyMeasure

EXAMPLE = (
    "hfprune cells --model resources/models/smollm2-135m-instruct-q4 "
    """--cells '{"plan": "plan.safetensors", "out": "by-hand"}' """
    """--measures '{"wikitext": {"corpus": "wikipedia-sample", "length": 256}, "zeroshot": {"tasks": ["piqa"]}}'"""
)


class Config(Placement):
    """Flags of `hfprune cells`."""

    model: DenseModel
    dtype: ComputeDtype = None
    resources: Path = Field(default=Path("resources"), description="folder of the fetched assets")
    measures: dict[Name, StudyMeasure] = Field(
        min_length=1, description="the measures as JSON, with the keys of the section `measures` of a study"
    )
    cells: list[dict[str, Any]] = Field(
        min_length=1,
        description="the cells, measured one after another, each as a JSON object: `out`, and as it has them "
        "`plan` or `checkpoint`, `adapter`, `resampled` and `cell`, like the flags of `hfprune measure`",
    )

    def made(self) -> dict[str, Measure]:
        """Return the measures by name.

        Raises:
            HfpruneError: a measure or setting is unknown, or is not taken together with others.
        """
        found = {name: entry.make(name, f"--measures: {name}") for name, entry in self.measures.items()}
        for name, measure in found.items():
            if measure.needs == "criterion" or (measure.dtype and len(found) > 1):
                raise HfpruneError(f"--measures: {name} is taken alone, by `hfprune measure`")
        return found

    def each(self, measures: dict[str, Measure]) -> list[Measured]:
        """Return the flags of each cell.

        Raises:
            HfpruneError: a cell has an unknown key, misses a file or shares its folder with another, or a measure
                is not taken on such a model.
        """
        alike = self.model_dump(exclude={"measures", "cells"})
        found = []
        for number, entry in enumerate(self.cells, 1):
            if key := next((key for key in entry if key in alike), None):
                raise HfpruneError(
                    f"--cells: {number}: {key} is the same for all cells: give --{key} instead"
                )
            found.append(validate(Measured, entry | alike, f"--cells: {number}"))
        if len({cell.out for cell in found}) < len(found):
            raise HfpruneError("--cells: two have the same `out`, so that one would replace the other")
        for cell in found:
            for name, measure in measures.items():
                cell.check(name, type(measure))
            if cell.resampled and not any(measure.resampled for measure in measures.values()):
                raise HfpruneError("--cells: none of --measures is measured on resampled plans: remove them")
        return found


def run(config: Config) -> None:
    """Take the measures of every cell and write their results."""
    from hfprune.measures import stems
    from hfprune.measuring import Target, settled, take
    from hfprune.results import read_result, values_table

    measures = {name: settled(measure) for name, measure in config.made().items()}
    dtype = next(iter(measures.values())).dtype or config.dtype
    targets: list[Target] = []
    for cell in config.each(measures):
        targets.append(cell.target(dtype, beside=targets[0].subject if targets else None))
    take(measures, targets, config.placement(), dtype=dtype)
    for target in targets:
        files = [f"{stem}.json" for name, measure in measures.items() for stem in stems(name, measure)]
        print(values_table([read_result(target.out / file) for file in files]))
