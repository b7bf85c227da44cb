"""Recipes of `hfprune prune`: what decides which units stay, and whether weights are reconstructed."""

from typing import Any, NamedTuple

from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.pruning.config import Pruning, RecipeName
from hfprune.settings import validate
from hfprune.settings.allocation import Allocation


class PruningRecipe(NamedTuple):
    """What decides which units stay, and whether the weights that read them are solved again."""

    criterion: str
    options: dict[str, Any]
    allocation: Allocation
    linear: bool
    shown: str = ""
    """What was shown of the whole recipe where it was to be confirmed, for readers; empty for other parts."""


RECIPES: dict[RecipeName, PruningRecipe] = {
    # Found by `recipe`, confirmed by `recipe-confirm`, where it is the method `best`, and taken by the rule
    # of `candidates-confirm` and `candidates-larger`.
    "best": PruningRecipe(
        "fisher",
        {},
        Allocation(rule="global"),
        linear=True,
        shown="In the study recipe-confirm, calibrated on Wikipedia, this recipe left 0.43 and 0.53 of the log "
        "perplexity that pruning as in the paper adds at 20 % with SmolLM2-135M (on Wikipedia, C4), 0.27 and 0.43 "
        "with Qwen2.5-Coder-0.5B. No more than half was the declared aim on Wikipedia. Right answers are not "
        "shown to lose more than by entropy's scores (studies candidates-confirm, candidates-larger).",
    ),
    "paper": PruningRecipe("entropy", {}, Allocation(), linear=False),
}


def chosen(asked: Pruning) -> PruningRecipe:
    """Return the recipe of a call, in which a flag that was given wins.

    With `--plain`, since padding saves nothing, and `--align` layers stay equally wide, as with another criterion,
    since not all scores compare across layers. A ranking over all layers was tried for neurons alone, and where
    no neurons are removed, nothing is reconstructed.

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
    found = plain._replace(**{name: value for name, value in given.items() if value is not None})
    found = found if found == named else found._replace(shown="")
    align = {"align": asked.align} if asked.align else {}
    found = found._replace(allocation=validate(Allocation, found.allocation.model_dump() | align, "--align"))
    if reason := found.allocation.unfit(asked.units):
        raise HfpruneError(reason)
    make_criterion(found.criterion, found.options, "--criterion/--options", [*asked.units])
    return found
