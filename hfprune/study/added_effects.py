"""Effects that a study asks for besides those of every study, each sort in its own file."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from typing import Any, ClassVar

from hfprune.errors import require_known
from hfprune.plugins.registry import Registry
from hfprune.settings import Strict

# What effects may need besides measures: losses of held-out sequences during training, a chain of methods, and
# several texts to calibrate on.
RECOVERY, CHAIN, CALIBRATIONS = "recovery", "chain", "calibrations"
DESCRIPTIONS = {
    RECOVERY: "a recovery that trains (lora), and its `held_out`",
    CHAIN: "`chain`, a list of three or more methods, each of which changes one setting of the one before",
    CALIBRATIONS: "more than one text under `calibrations`",
}


class AddedEffects(Strict, ABC):
    """Rows of `effects.csv` on a question of their own, such as a statistical test.

    A sort is one file in `hfprune/effects/added/` with one subclass, and a study takes it by the file's name
    (`effects: losses`).
    """

    question: ClassVar[str]
    """Value of the column `question` in its rows; a literal."""
    form: ClassVar[str] = ""
    """Format of its numbers in the findings; "" for that of the outcome."""
    needs: ClassVar[str] = ""
    """What a study must have to be accepted: the name of a measure, or a key of `DESCRIPTIONS`."""

    @abstractmethod
    def rows(self, evidence: Any) -> Iterator[Any]:
        """Yield every effect in a study's `Evidence` as an `EffectRow` (`hfprune.results.effect_rows`)."""


ADDED = Registry("hfprune.effects.added", AddedEffects, ("question",), word="effects")  # type: ignore[type-abstract]


def check_needs(names: Collection[str], present: Collection[str]) -> None:
    """Fail if effects are unknown or need what a study lacks; `present` are measures and keys of `DESCRIPTIONS`.

    Raises:
        ValueError: names the effects and what they need.
    """
    added = ADDED.outlines()
    require_known("effects", names, added)
    for name in names:
        needs = added[name].constants.get("needs")
        if needs and needs not in present:
            raise ValueError(f"effects: {name} needs {DESCRIPTIONS.get(needs, f'the measure {needs}')}")


def keep_losses(names: Iterable[str]) -> bool:
    """Tell whether effects need the losses of single held-out sequences, so that records keep them."""
    return any(ADDED.outlines()[name].constants.get("needs") == RECOVERY for name in names)
