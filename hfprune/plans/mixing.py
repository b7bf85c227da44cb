"""Mixtures of two plans: by a coin among the disputed units, or layer by layer."""

from collections.abc import Collection

import torch

from hfprune.errors import HfpruneError
from hfprune.plans.planning import Plan
from hfprune.seeds import derive_seed
from hfprune.settings.units import layer_of


def by_coin(plan: Plan, other: Plan, seed: int) -> Plan:
    """Return a plan that keeps what both plans keep, and a random choice of what only one of them keeps.

    It is a null for the choice of either. Each place keeps as many units as each of the two, and every choice of
    so many disputed ones is equally likely.

    Raises:
        HfpruneError: at one place, the two keep different numbers of units, or only one has the place.
    """
    mixture: Plan = {}
    for name, count in _counts(plan, other).items():
        kept, times = torch.cat([plan[name], other[name]]).unique(return_counts=True)
        both, disputed = kept[times == 2], kept[times == 1]
        generator = torch.Generator().manual_seed(derive_seed(seed, "disputed", name))
        drawn = torch.randperm(len(disputed), generator=generator)[: count - len(both)]
        mixture[name] = torch.cat([both, disputed[drawn]]).sort().values
    return mixture


def by_layer(plan: Plan, other: Plan, layers: Collection[int]) -> Plan:
    """Return a plan that keeps what the other plan keeps in these layers, and what `plan` keeps elsewhere.

    Raises:
        HfpruneError: as `by_coin`; or there is no such layer.
    """
    places = {name: layer_of(name) for name in _counts(plan, other)}
    if absent := {*layers} - {*places.values()}:
        raise HfpruneError(f"no plan for layer {min(absent)}; the last one is {max(places.values())}")
    return {name: other[name] if layer in layers else plan[name] for name, layer in places.items()}


def _counts(plan: Plan, other: Plan) -> dict[str, int]:
    """Return how many units both plans keep at each place."""
    counts = {}
    for name in plan | other:
        ours, theirs = (len(side.get(name, ())) for side in (plan, other))
        if ours != theirs:
            raise HfpruneError(
                f"{name}: one plan keeps {ours:,} units and the other {theirs:,}, so that a mixture of them would "
                "change their number: give both the same units, with `allocation: uniform`"
            )
        counts[name] = ours
    return counts
