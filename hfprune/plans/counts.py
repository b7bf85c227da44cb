"""Budget: the number of units of each kind that stay, so that a ratio of all parameters is removed."""

from collections.abc import Iterable
from itertools import product
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from hfprune.errors import HfpruneError
from hfprune.models.units import Kind, count_parameters, units_of
from hfprune.rounding import percent
from hfprune.settings.allocation import Allocation
from hfprune.settings.units import UnitShares

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# From coarse to fine. The finest of the pruned kinds takes the rest of the budget.
ORDER: tuple[Kind, ...] = ("layers", "key_value_groups", "neurons")
NAMES: dict[Kind, str] = {
    "layers": "decoder layers",
    "key_value_groups": "key-value groups in every layer",
    "neurons": "neurons in every layer",
}
NEURONS: UnitShares = {"neurons": None}


class Sizes(NamedTuple):
    """The units of one kind in a dense model, whose layers are all alike."""

    units: int
    """Number of units in a layer; of layers, in the model."""
    parameters: int
    """Parameters of one unit."""
    layers: int
    """Number of layers that have them: the depth of the model, or 1 for the layers themselves."""


def unit_sizes(model: "PreTrainedModel", kinds: Iterable[Kind]) -> dict[Kind, Sizes]:
    """Return the sizes of the units of each kind, coarse kinds first.

    Raises:
        HfpruneError: layers differ, so one number cannot describe them all; or the architecture is not
            supported.
    """
    found: dict[Kind, Sizes] = {}
    for kind in sorted(kinds, key=ORDER.index):
        units = units_of(model, [kind]).values()
        alike = {(unit.count, unit.parameters) for unit in units}
        if len(alike) > 1:
            counts = sorted({count for count, _ in alike})
            raise HfpruneError(
                f"{type(model).__name__}: layers differ in their {kind} ({counts}): this is no dense model"
            )
        found[kind] = Sizes(*alike.pop(), len(units))
    return found


def kept_units(
    model: "PreTrainedModel",
    ratio: float,
    units: UnitShares = NEURONS,
    part: float = 1.0,
    spared: int = 0,
) -> dict[Kind, int]:
    """Return the number of units that stay in every layer, so that `ratio` of all parameters is removed.

    All layers that stay, but those that are spared, keep the same numbers, as in the paper (Sec. 4.3). Without
    shares, every kind loses the same fraction: of the layers, and of the groups and neurons in those that stay.
    (The paper does not say how its Table 8 divides the budget between attention and MLP.) With shares, each kind
    accounts for its share of the removed parameters; all parameters of a removed layer count for `layers`. Layers
    and groups are few, so their number is the nearest one that leaves a feasible rest to the finest kind, which
    takes it: with neurons, the total is exact to half a neuron per layer.

    Args:
        model: a dense model; may be on the meta device.
        ratio: fraction of all parameters, not of neurons (paper, Tables 1, 2, 4).
        units: the kinds to prune, with their shares or `None`.
        part: of the way to the ratio, for pruning in steps: this fraction of the units of every kind that the
            ratio removes. So what a larger part keeps is among what a smaller one keeps, in every kind.

    Returns:
        By kind, coarse kinds first: neurons and groups of each layer that stays, and the number of those layers.

    Raises:
        HfpruneError: the ratio cannot be reached; gives the possible ratios.
    """
    sizes = unit_sizes(model, units)
    total = count_parameters(model)
    goal = ratio * total
    depth = len(model.model.layers) - spared
    if depth < 1:
        raise HfpruneError(f"the allocation spares all {len(model.model.layers)} layers; spare fewer")
    if spared:
        sizes = {kind: size._replace(layers=depth) for kind, size in sizes.items()}
    *coarse, finest = sizes
    fraction = _equal_fraction(sizes, goal)

    def weight(kind: Kind, kept: dict[Kind, int]) -> int:
        return sizes[kind].parameters * (1 if kind == "layers" else kept.get("layers", depth))

    def removed(kept: dict[Kind, int]) -> int:
        return sum((sizes[kind].units - number) * weight(kind, kept) for kind, number in kept.items())

    def distances(kept: dict[Kind, int]) -> list[float]:
        """Return the distance of each coarse kind from its part of the budget, the coarsest first."""
        found = []
        for kind in coarse:
            share, count = units[kind], sizes[kind].units
            ideal = count * (1 - fraction) if share is None else count - share * goal / weight(kind, kept)
            found.append(abs(kept[kind] - ideal))
        return found

    choices = [range(1, sizes[kind].units + 1) for kind in coarse]
    reachable = []
    for numbers in product(*choices) if 0 < ratio < 1 else ():
        kept = dict(zip(coarse, numbers, strict=True))
        kept[finest] = round(sizes[finest].units - (goal - removed(kept)) / weight(finest, kept))
        # A tiny ratio may round to no neuron; where only coarse units are pruned, at least one must go.
        if 1 <= kept[finest] <= sizes[finest].units and (finest == "neurons" or removed(kept)):
            reachable.append(kept)
    if not reachable:
        least = min(size.parameters * size.layers for size in sizes.values()) / total
        most = removed(dict.fromkeys(sizes, 1)) / total
        raise HfpruneError(_unreachable(type(model).__name__, ratio, [*sizes], least, most))
    whole = min(reachable, key=distances)
    return {kind: sizes[kind].units - round(part * (sizes[kind].units - n)) for kind, n in whole.items()}


def _equal_fraction(sizes: dict[Kind, Sizes], goal: float) -> float:
    """Return the fraction to remove from every kind so that `goal` parameters are removed.

    Groups and neurons lose this fraction in the layers that stay.
    """
    whole = {kind: size.units * size.parameters * size.layers for kind, size in sizes.items()}
    layers = whole.pop("layers", 0)
    inside = sum(whole.values())
    if not layers or not inside:
        return goal / (layers or inside)
    # The fraction f solves f · layers + (1 - f) · f · inside = goal.
    both = layers + inside
    return (both - sqrt(max(0.0, both * both - 4 * inside * goal))) / (2 * inside)


def _unreachable(model: str, ratio: float, kinds: list[Kind], least: float, most: float) -> str:
    said = f"ratio {ratio:g} cannot be reached by pruning {' and '.join(reversed(kinds))} of {model}"
    if most <= 0:
        return f"{said}: it has only one of them"
    if "neurons" in kinds:
        return f"{said}: choose one above 0 and at most {most:.3f}"
    steps = f", in steps of {least:.3f}" if len(kinds) == 1 else ""
    return f"{said}: choose one from {least:.3f} to {most:.3f}{steps}"


def not_applicable(
    model: "PreTrainedModel",
    ratio: float,
    units: UnitShares = NEURONS,
    allocation: Allocation = Allocation(),  # noqa: B008 (frozen)
) -> str:
    """Return why a kind cannot be pruned at `ratio`, or "" if each kind loses some units.

    Always "" under `joint`, where scores decide which kinds lose units.
    """
    if allocation.rule == "joint":
        return ""
    spared = len(allocation.spared(len(model.model.layers)))
    sizes, kept = unit_sizes(model, units), kept_units(model, ratio, units, spared=spared)
    whole = [kind for kind in sizes if kept[kind] == sizes[kind].units]
    reasons = [f"keeps {kept[kind]} of {sizes[kind].units} {NAMES[kind]}" for kind in whole]
    return f"{' and '.join(reasons)} at {percent(ratio)}" if reasons else ""
