"""A null for what one plan chooses and another does not: among the units that they dispute, a coin chooses."""

import torch

from hfprune.errors import HfpruneError
from hfprune.plans.planning import Plan
from hfprune.seeds import derive_seed


def by_coin(plan: Plan, other: Plan, seed: int) -> Plan:
    """Return a plan that keeps what both keep, and of what only one of them keeps a random choice.

    Each place keeps as many units as each of the two, and every choice of so many disputed ones is equally likely.

    Raises:
        HfpruneError: at one place, the two keep different numbers of units, or only one has the place.
    """
    found: Plan = {}
    for name in plan | other:
        counts = [len(one.get(name, ())) for one in (plan, other)]
        if counts[0] != counts[1]:
            raise HfpruneError(
                f"{name}: one plan keeps {counts[0]:,} units and the other {counts[1]:,}, so that a coin would "
                "change their number: give both the same units, with `allocation: uniform`"
            )
        kept, times = torch.cat([plan[name], other[name]]).unique(return_counts=True)
        both, disputed = kept[times == 2], kept[times == 1]
        generator = torch.Generator().manual_seed(derive_seed(seed, "disputed", name))
        drawn = torch.randperm(len(disputed), generator=generator)[: counts[0] - len(both)]
        found[name] = torch.cat([both, disputed[drawn]]).sort().values
    return found
