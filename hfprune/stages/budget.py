"""Print how many units remain at each ratio; fail if a ratio cannot be reached."""

from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt, model_validator

from hfprune.errors import HfpruneError
from hfprune.files import read_json, write_json
from hfprune.provenance import is_current, origin
from hfprune.rounding import spelt_ratio
from hfprune.settings.allocation import Allocation
from hfprune.settings.units import UnitKind, UnitShares
from hfprune.stages import Output, Stage
from hfprune.stages.fields import DenseModel


class Budget(Stage):
    """The number of units of a model that are kept at each ratio.

    The file has `parameters`; `neurons` per layer; `kept`, the number of units by pruned kinds, ratio and kind;
    and `neurons_removed`, by ratio, the share of neurons that is removed if only neurons are pruned and can reach
    the ratio, for tools that need it.
    """

    example: ClassVar = (
        "hfprune budget --model resources/models/smollm2-135m-instruct-q4 --ratios 0.2 0.3 "
        "--units neurons layers"
    )

    model: DenseModel
    ratios: list[float] = Field(description="fractions of all parameters")
    units: list[UnitShares] = Field(
        default=[{"neurons": None}],
        description="kinds of unit, or lists or shares of kinds as JSON; each gets its own budget",
    )
    spare: list[NonNegativeInt] = Field(
        default=[], description="number of layers that stay whole, one for each of --units (0)"
    )
    out: Annotated[Path | None, Output()] = Field(
        default=None, description="JSON file of the budgets (none: print only)"
    )

    @model_validator(mode="after")
    def _spared_by_units(self) -> "Budget":
        if len(self.spare) > len(self.units):
            raise ValueError("--spare has more numbers than --units has kinds: give one for each of --units")
        return self

    def run(self) -> bool | None:
        """Print the units that each ratio leaves, and write them to `out` if it is given.

        Raises:
            HfpruneError: a ratio cannot be reached.
        """
        from hfprune.models.load import load_skeleton
        from hfprune.models.units import count_parameters
        from hfprune.plans.counts import kept_units, not_applicable, unit_sizes

        inputs, settings = self.sources(), self.model_dump(include={"ratios", "units", "spare"})
        if self.out and is_current(self.out, [], inputs, settings):
            return False
        model = load_skeleton(self.model)
        total, width = count_parameters(model), unit_sizes(model, ["neurons"])["neurons"].units
        kept: dict[str, dict[str, dict[UnitKind, float]]] = {}
        for units, spared in zip_longest(self.units, self.spare, fillvalue=0):
            assert isinstance(units, dict) and isinstance(spared, int)
            sizes = unit_sizes(model, units)
            label = " and ".join(units)
            if spared:
                label += f", {spared} layers spared"
            kept[label] = {}
            for ratio in self.ratios:
                counts = kept[label][spelt_ratio(ratio)] = kept_units(model, ratio, units, spared=spared)
                parts = [f"{count:,g} of {sizes[kind].units:,g} {kind}" for kind, count in counts.items()]
                note = ""
                if not_applicable(model, ratio, units, Allocation(spare=(spared, 0))):
                    note = "; not applicable: no units of a kind can go"
                print(f"ratio {ratio:g} of {total:,} parameters: keep {', '.join(parts)}{note}")
        removed = {}
        for ratio in self.ratios:
            with suppress(HfpruneError):  # neurons alone may not reach the ratio
                removed[spelt_ratio(ratio)] = 1 - kept_units(model, ratio)["neurons"] / width
        budget = {"parameters": total, "neurons": width, "kept": kept, "neurons_removed": removed}
        if self.out:
            write_json(self.out, budget | {"provenance": origin(inputs, settings)})
        return True


def neurons_removed(budget: Path, ratio: str, more: float = 0) -> float:
    """Return the share of MLP neurons that a ratio and `more` neurons per layer remove, by a file of this stage.

    It is for baselines, which take a share of the neurons.

    Raises:
        HfpruneError: neurons alone cannot reach the ratio.
    """
    budgets = read_json(budget)
    if ratio not in budgets["neurons_removed"]:
        raise HfpruneError(
            f"{budget}: neurons alone cannot reach the ratio {ratio}; leave the baseline out there"
        )
    return budgets["neurons_removed"][ratio] + more / budgets["neurons"]
