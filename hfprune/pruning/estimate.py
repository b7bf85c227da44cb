"""How long `hfprune prune` will take, said before it starts."""

import sys
from collections.abc import Iterable
from dataclasses import replace

from hfprune.cost.speed import seconds
from hfprune.devices.table import nominal_cpu, visible_device
from hfprune.evaluation.work import Case, Work, solved
from hfprune.files import read_json
from hfprune.measures import Measure
from hfprune.models.shape import Shape
from hfprune.pruning.pipeline import Pipeline
from hfprune.recovery.settings import Linear


def foretell(pipeline: Pipeline, measures: Iterable[Measure]) -> None:
    """Say the minutes to the exported model and those of the comparison, by the table of devices.

    Args:
        pipeline: the steps to the model; the budget is known.
        measures: of the comparison, if it is asked for.
    """
    asked, recipe, dtype = pipeline.config, pipeline.recipe, pipeline.dtype
    device = visible_device() or nominal_cpu()
    shape = Shape.of_config(read_json(pipeline.model / "config.json"))
    dense = Case(shape, dtype, device.on_gpu, device.memory)
    criteria = {recipe.criterion: pipeline.criterion}
    making = dense.load() * 2 + dense.score(criteria, pipeline.scored(), asked.length, [*asked.units])
    if recipe.linear:
        making += solved(dense, Linear(), pipeline.blocks(), asked.length, plans=1)
    pruned = replace(dense, shape=shape.pruned(asked.ratio), dense=shape)
    comparing = dense.load() + pruned.load()
    for measure in measures:
        comparing += measure.work(pruned) + (measure.work(dense) if measure.needs == "model" else Work())
    cores = max(1, device.cores)
    model, then = (seconds(device, work, dtype, cores) / 60 for work in (making, comparing))
    comparison = f", then about {then:.1f} for the comparison" if asked.compare else ""
    print(f"about {model:.1f} minutes to the model{comparison} ({dtype})", file=sys.stderr)
