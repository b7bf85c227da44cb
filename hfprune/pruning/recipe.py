"""Recipes of `hfprune prune`: what decides which units stay, and whether weights are reconstructed."""

from typing import NamedTuple

from pydantic import JsonValue

from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.pruning.config import Pruning, RecipeName
from hfprune.settings import validate
from hfprune.settings.allocation import Allocation


class PruningRecipe(NamedTuple):
    """What decides which units stay, and whether the weights that read them are solved again."""

    criterion: str
    options: dict[str, JsonValue]
    allocation: Allocation
    linear: bool


RECIPES: dict[RecipeName, PruningRecipe] = {
    # docs/recipe.md says what it rests on; in the study `recipe` it is the method `fisher_global`.
    "best": PruningRecipe("fisher", {}, Allocation(rule="global"), linear=True),
    "paper": PruningRecipe("entropy", {}, Allocation(), linear=False),
}


def chosen(asked: Pruning) -> PruningRecipe:
    """Return the recipe of a call, in which a flag that was given wins.

    With `--plain`, since padding saves nothing, and `--align` each layer is ranked by itself, as with another
    criterion, since not all scores compare across layers. A ranking over all layers was tried for neurons alone,
    and where no neurons are removed, nothing is reconstructed.

    Raises:
        HfpruneError: the criterion or the allocation does not fit the units.
    """
    named = RECIPES[asked.recipe]
    criterion = asked.criterion or named.criterion
    equal = asked.plain or asked.align or criterion != named.criterion or [*asked.units] != ["neurons"]
    plain = named._replace(
        criterion=criterion,
        allocation=Allocation() if equal else named.allocation,
        linear=named.linear and "neurons" in asked.units,
    )
    given = {name: getattr(asked, name) for name in ("options", "allocation", "linear")}
    recipe = plain._replace(**{name: value for name, value in given.items() if value is not None})
    align = {"align": asked.align} if asked.align else {}
    aligned = validate(Allocation, recipe.allocation.model_dump() | align, "--align")
    if reason := aligned.unfit(asked.units):
        raise HfpruneError(reason)
    if asked.plain and (asked.size or asked.speedup) and aligned != Allocation():
        raise HfpruneError(
            f"--{'size' if asked.size else 'speedup'}: --plain pads layers of unequal widths, so that the export "
            "is as large and as slow as if all were the widest; give --params, or no --plain"
        )
    make_criterion(recipe.criterion, recipe.options, "--criterion/--options", [*asked.units])
    return recipe._replace(allocation=aligned)
