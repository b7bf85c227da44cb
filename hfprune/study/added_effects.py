"""Effects that a study asks for besides those of every study, each sort in its own file."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from hfprune.errors import HfpruneError, require_known
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


class AddedEffects(Strict):
    """Rows of `effects.csv` on a question of their own, such as a statistical test.

    A sort is one file in `hfprune/effects/added/` with one subclass, and a study takes it by the file's name
    (`effects: pairs`). A test of one's own is the function `test`, which the suite calls for every method beside
    its reference, on the same model, calibration, ratio and recovery. Effects of other sides define `rows`.
    """

    question: ClassVar[str]
    """Value of the column `question` in its rows; a literal."""
    needs: ClassVar[str] = ""
    """What a study must have: a measure, on which alone a test is asked, or a key of `DESCRIPTIONS`."""
    neutral: ClassVar[float] = 0.0
    better: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    form: ClassVar[str] = "{:+.3f}"
    """Of a test's value: that of no effect, the better direction (`higher` or `lower`), unit, and format."""

    def test(self, difference: Any) -> Mapping[str, float] | None:
        """Return `value` and, where the test has them, `low`, `high`, `p` and `n`; None if it has no answer.

        `difference` is a `Contrast` (`hfprune.statistics.outcomes`), the method's outcomes less the reference's:
        `tasks` has an array [draws, items] for each task, and `documents` the document of each item [items].
        """
        raise HfpruneError(f"effects: {type(self).__name__} must define test or rows")

    def rows(self, evidence: Any) -> Iterator[Any] | None:
        """Yield every effect in a study's `Evidence` as an `EffectRow`; None stands for the rows of `test`."""
        return None


ADDED = Registry("hfprune.effects.added", AddedEffects, ("question",), word="effects")


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
