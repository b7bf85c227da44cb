"""Recipes of `hfprune prune`: what decides which units stay, and whether weights are solved again."""

from typing import Any, NamedTuple

from hfprune.plans.rules import Allocation
from hfprune.pruning.config import Config, RecipeName


class Recipe(NamedTuple):
    """A criterion with its options, an allocation, and whether linear recovery follows."""

    criterion: str
    options: dict[str, Any]
    allocation: Allocation
    linear: bool


RECIPES: dict[RecipeName, Recipe] = {
    # By the study `recipe`, where layers stay equally wide and nothing needs a gradient. Fisher ranked over all
    # layers loses less, but plain checkpoints store every layer as wide as the widest (docs/findings.md).
    # `recipe-confirm` is to try both on other data.
    "best": Recipe("wanda", {}, Allocation(), linear=True),
    "paper": Recipe("entropy", {}, Allocation(), linear=False),
}


def chosen(config: Config) -> Recipe:
    """Return the recipe of a call, in which a flag that was given wins.

    Another criterion has none of the recipe's options. A ranking over all layers was tried for neurons alone, and
    where no neurons are removed, nothing is solved again.
    """
    named = RECIPES[config.recipe]
    criterion = config.criterion or named.criterion
    plain = named._replace(
        criterion=criterion,
        options=named.options if criterion == named.criterion else {},
        allocation=named.allocation if [*config.units] == ["neurons"] else Allocation(),
        linear=named.linear and "neurons" in config.units,
    )
    given = {name: getattr(config, name) for name in ("options", "allocation", "linear")}
    return plain._replace(**{name: value for name, value in given.items() if value is not None})
