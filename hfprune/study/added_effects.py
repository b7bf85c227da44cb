"""Effects that a study asks for beside those of every study, each sort in a file of its own."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from typing import Any, ClassVar

from hfprune.errors import require_known
from hfprune.plugins.registry import Registry
from hfprune.settings import Strict

# What effects need beside measures: the loss of every held-out sequence as a recovery trained, a chain of methods,
# and several texts to calibrate on.
RECOVERY, CHAIN, CALIBRATIONS = "recovery", "chain", "calibrations"
SAID = {
    RECOVERY: "a recovery that trains (lora), and its `held_out`",
    CHAIN: "`chain`, a list of three methods or more, of which each changes one thing of the one before",
    CALIBRATIONS: "more than one text under `calibrations`",
}


class AddedEffects(Strict, ABC):
    """Rows of `effects.csv` on a question of their own, such as a statistical test.

    A sort is one file in `hfprune/effects/added/` with one subclass, and a study takes it by the file's name
    (`effects: losses`).
    """

    question: ClassVar[str]
    """What its rows have as `question`; a literal."""
    form: ClassVar[str] = ""
    """Format of their numbers in the findings; "": that of the outcome."""
    needs: ClassVar[str] = ""
    """What a study must have, or it is refused before its first job: a measure's name, or a key of `SAID`."""

    @abstractmethod
    def rows(self, evidence: Any) -> Iterator[Any]:
        """Yield each as an `EffectRow` (`hfprune.results.effect_rows`) of a study's `Evidence`."""


ADDED = Registry("hfprune.effects.added", AddedEffects, ("question",), word="effects")  # type: ignore[type-abstract]


def check_needs(names: Collection[str], present: Collection[str]) -> None:
    """Fail if effects are unknown, or lack what they need among what a study has: measures, and keys of `SAID`.

    Raises:
        ValueError: says which effects, and what they need.
    """
    added = ADDED.outlines()
    require_known("effects", names, added)
    for name in names:
        needs = added[name].constants.get("needs")
        if needs and needs not in present:
            raise ValueError(f"effects: {name} needs {SAID.get(needs, f'the measure {needs}')}")


def keep_losses(names: Iterable[str]) -> bool:
    """Tell whether effects need the losses of single held-out sequences, so that records keep them."""
    return any(ADDED.outlines()[name].constants.get("needs") == RECOVERY for name in names)
