"""How long `hfprune prune` will take, said before it starts."""

from collections.abc import Iterable
from pathlib import Path

from hfprune.cost.speed import seconds
from hfprune.criteria import Criterion
from hfprune.devices.table import nominal_cpu, visible_device
from hfprune.evaluation.work import Case, Work, solved
from hfprune.files import read_json
from hfprune.measures import Measure
from hfprune.models.kinds import UnitKind
from hfprune.models.shape import Shape
from hfprune.recovery.settings import Linear


def minutes(
    model: Path,
    dtype: str,
    ratio: float,
    scored: tuple[str, Criterion, int, int, list[UnitKind]],
    blocks: int | None,
    measures: Iterable[tuple[Measure, bool]],
) -> tuple[float, float]:
    """Return the minutes to the exported model and those of the comparison, by the table of devices.

    Args:
        model: folder of the dense model.
        dtype: to compute in.
        ratio: fraction of all parameters that is removed.
        scored: the criterion with its name, the number of sequences and their tokens, and the units.
        blocks: sequences to which weights are solved again; None: they are not.
        measures: each with whether the dense model is measured by itself, too.
    """
    device, shape = visible_device() or nominal_cpu(), Shape.of_config(read_json(model / "config.json"))
    dense = Case(shape, dtype, device.on_gpu, device.memory)
    name, criterion, sequences, length, units = scored
    making = dense.load() * 2 + dense.score({name: criterion}, sequences, length, units)
    if blocks:
        making += solved(dense, Linear(), blocks, length, plans=1)
    pruned = Case(shape.pruned(ratio), dtype, device.on_gpu, device.memory, dense=shape)
    comparing = Work()
    for measure, alone in measures:
        comparing += pruned.load() + measure.work(pruned)
        if alone:
            comparing += dense.load() + measure.work(dense)
    cores = max(1, device.cores)
    return tuple(seconds(device, work, dtype, cores) / 60 for work in (making, comparing))  # type: ignore[return-value]
