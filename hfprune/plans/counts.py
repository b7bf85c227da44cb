"""Budget: the number of units of each kind that are kept, so that a ratio of all parameters is removed."""

from collections.abc import Iterable
from itertools import product
from math import sqrt
from statistics import fmean
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
    """The units of one kind in a model whose layers are equal, or differ in their neurons alone."""

    units: float
    """Units in a layer (mean over layers), or in the model for kind `layers`; an integer if layers are equal."""
    parameters: int
    """Parameters of one unit."""
    layers: int
    """Number of layers that have them: the depth of the model, or 1 for the layers themselves."""

    def rounded(self, number: float) -> float:
        """Return the nearest number of units that all layers can have; unlike layers can have any mean."""
        return round(number) if isinstance(self.units, int) else number


def unit_sizes(model: "PreTrainedModel", kinds: Iterable[Kind]) -> dict[Kind, Sizes]:
    """Return the sizes of the units of each kind, coarse kinds first.

    Raises:
        HfpruneError: layers differ in units other than neurons, as those of a pruned model may; or the
            architecture is not supported.
    """
    sizes: dict[Kind, Sizes] = {}
    for kind in sorted(kinds, key=ORDER.index):
        units = [*units_of(model, [kind]).values()]
        counts, parameters = [unit.count for unit in units], {unit.parameters for unit in units}
        if kind == "layers":
            parameters = {count_parameters(layer) for layer in model.model.layers}
        unlike = len({*counts}) > 1
        if len(parameters) > 1 or (unlike and kind != "neurons"):
            raise HfpruneError(
                f"{type(model).__name__}: its layers differ, as those of a pruned model may, so that one number "
                f"of {kind} cannot be kept in all of them: prune neurons alone, or by allocation joint"
            )
        sizes[kind] = Sizes(fmean(counts) if unlike else counts[0], parameters.pop(), len(units))
    return sizes


def kept_units(
    model: "PreTrainedModel",
    ratio: float,
    units: UnitShares = NEURONS,
    part: float = 1.0,
    spared: int = 0,
) -> dict[Kind, float]:
    """Return the number of units that every layer keeps, so that `ratio` of all parameters is removed.

    All kept layers except the spared ones keep the same numbers, as in the paper (Sec. 4.3). Without shares, every
    kind loses the same fraction: of the layers, and of the groups and neurons in the kept layers.
    (The paper does not say how its Table 8 divides the budget between attention and MLP.) With shares, each kind
    accounts for its share of the removed parameters; all parameters of a removed layer count for `layers`. Layers
    and groups are few, so their number is the nearest one that leaves a feasible rest to the finest kind, which
    takes it: with neurons, the total is exact to half a neuron per layer.

    If layers differ in width, as in a pruned model, every layer keeps the same share of its neurons; the returned
    number is then the mean over layers and need not be an integer.

    Args:
        model: a dense or a pruned model; may be on the meta device.
        ratio: fraction of all parameters, not of neurons (paper, Tables 1, 2, 4).
        units: the kinds to prune, with their shares or `None`.
        part: for pruning in steps, the fraction of each kind's removed units that this step has removed. So the
            units kept by a larger part are among those kept by a smaller one, for every kind.
        spared: number of layers that lose nothing.

    Returns:
        By kind, coarse kinds first: neurons and groups of each layer that stays, and the number of those layers.

    Raises:
        HfpruneError: the ratio cannot be reached (gives the possible ratios), or the layers cannot be spared.
    """
    sizes = unit_sizes(model, units)
    total = count_parameters(model)
    goal = ratio * total
    depth = len(model.model.layers) - spared
    if depth < 1:
        raise HfpruneError(f"the allocation spares all {len(model.model.layers)} layers; spare fewer")
    if spared and not all(isinstance(size.units, int) for size in sizes.values()):
        raise HfpruneError("the allocation spares layers of a model whose layers differ in width: spare none")
    if spared:
        sizes = {kind: size._replace(layers=depth) for kind, size in sizes.items()}
    *coarse, finest = sizes
    fraction = _equal_fraction(sizes, goal)

    def weight(kind: Kind, kept: dict[Kind, float]) -> float:
        return sizes[kind].parameters * (1 if kind == "layers" else kept.get("layers", depth))

    def removed(kept: dict[Kind, float]) -> float:
        return sum((sizes[kind].units - number) * weight(kind, kept) for kind, number in kept.items())

    def distances(kept: dict[Kind, float]) -> list[float]:
        """Return the distance of each coarse kind from its part of the budget, the coarsest first."""
        apart = []
        for kind in coarse:
            share, count = units[kind], sizes[kind].units
            ideal = count * (1 - fraction) if share is None else count - share * goal / weight(kind, kept)
            apart.append(abs(kept[kind] - ideal))
        return apart

    choices = [range(1, int(sizes[kind].units) + 1) for kind in coarse]
    reachable = []
    for numbers in product(*choices) if 0 < ratio < 1 else ():
        kept: dict[Kind, float] = dict(zip(coarse, numbers, strict=True))
        left = sizes[finest].units - (goal - removed(kept)) / weight(finest, kept)
        kept[finest] = sizes[finest].rounded(left)
        # A tiny ratio may round to no neuron; where only coarse units are pruned, at least one must go.
        if 1 <= kept[finest] <= sizes[finest].units and (finest == "neurons" or removed(kept)):
            reachable.append(kept)
    if not reachable:
        least = min(size.parameters * size.layers for size in sizes.values()) / total
        most = removed(dict.fromkeys(sizes, 1)) / total
        raise HfpruneError(_unreachable(type(model).__name__, ratio, [*sizes], least, most))
    whole = min(reachable, key=distances)
    return {
        kind: size.units - size.rounded(part * (size.units - whole[kind])) for kind, size in sizes.items()
    }


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
    total = layers + inside
    return (total - sqrt(max(0.0, total * total - 4 * inside * goal))) / (2 * inside)


def _unreachable(model: str, ratio: float, kinds: list[Kind], least: float, most: float) -> str:
    problem = f"ratio {ratio:g} cannot be reached by pruning {' and '.join(reversed(kinds))} of {model}"
    if most <= 0:
        return f"{problem}: it has only one of them"
    if "neurons" in kinds:
        return f"{problem}: choose one above 0 and at most {most:.3f}"
    steps = f", in steps of {least:.3f}" if len(kinds) == 1 else ""
    return f"{problem}: choose one from {least:.3f} to {most:.3f}{steps}"


def not_applicable(
    model: "PreTrainedModel",
    ratio: float,
    units: UnitShares = NEURONS,
    allocation: Allocation = Allocation(),  # noqa: B008 (frozen)
) -> str:
    """Return why a kind is not pruned at `ratio`, or "" if each kind loses units.

    Always "" with `joint`, where scores decide which kinds lose units.
    """
    if allocation.rule == "joint":
        return ""
    spared = len(allocation.spared(len(model.model.layers)))
    sizes, kept = unit_sizes(model, units), kept_units(model, ratio, units, spared=spared)
    whole = [kind for kind in sizes if kept[kind] == sizes[kind].units]
    reasons = [f"keeps {kept[kind]} of {sizes[kind].units} {NAMES[kind]}" for kind in whole]
    return f"{' and '.join(reasons)} at {percent(ratio)}" if reasons else ""
