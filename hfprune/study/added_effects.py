"""Effects that a study asks for beside those of every study, each sort in a file of its own."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from typing import Any, ClassVar

from hfprune.errors import nearest
from hfprune.plugins.registry import Registry
from hfprune.settings import Strict

# What effects need that read the loss of every held-out sequence as a recovery trained.
RECOVERY = "recovery"


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
    """The measure without which a study is refused before its first job; or `RECOVERY`."""

    @abstractmethod
    def rows(self, evidence: Any) -> Iterator[Any]:
        """Yield each as an `EffectRow` (`hfprune.results.effect_rows`) of a study's `Evidence`."""


ADDED = Registry("hfprune.effects.added", AddedEffects, ("question",), word="effects")  # type: ignore[type-abstract]


def check_needs(names: Iterable[str], measured: Collection[str]) -> None:
    """Fail if effects are unknown, or lack what they need among the measures, and `RECOVERY` with held-out pairs.

    Raises:
        ValueError: says which effects, and what they need.
    """
    added = ADDED.outlines()
    for name in names:
        if name not in added:
            raise ValueError(f"effects: unknown {name!r}{nearest(name, [*added])}")
        needs = added[name].constants.get("needs")
        if needs and needs not in measured:
            what = f"the measure {needs}"
            if needs == RECOVERY:
                what = "a recovery that trains (lora), and its `held_out`"
            raise ValueError(f"effects: {name} needs {what}")


def keep_losses(names: Iterable[str]) -> bool:
    """Tell whether effects need the losses of single held-out sequences, so that records keep them."""
    return any(ADDED.outlines()[name].constants.get("needs") == RECOVERY for name in names)
