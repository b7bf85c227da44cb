"""Effects that a study asks for beside those of every study, each sort in a file of its own."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from hfprune.plugins.registry import Registry
from hfprune.settings import Strict

# What effects need that read the loss of every held-out sequence as a recovery trained.
RECOVERY = "recovery"


class AddedEffects(Strict, ABC):
    """Rows of `effects.csv` on a question of their own, such as a statistical test.

    A sort is one file in `hfprune/analysis/added/` with one subclass, and a study takes it by the file's name
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
        """Yield each as an `EffectRow` (`hfprune.analysis.effect_rows`) of a study's `Evidence`."""


ADDED = Registry("hfprune.analysis.added", AddedEffects, ("question",), word="effects")  # type: ignore[type-abstract]
