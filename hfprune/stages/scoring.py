"""Flags that `score` shares with measures of scoring: the blocks, the units and the seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from hfprune.calibration.sizes import resamples_of
from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.plugins.registry import source_file
from hfprune.provenance import recorded
from hfprune.settings import Strict
from hfprune.stages.fields import ExistingPath, PlanFile, Seed
from hfprune.study.calibration import Resamples
from hfprune.study.method import ByCriterion, Units
from hfprune.study.study import by_size

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.criteria import Criterion


class Scoring(Strict):
    """Blocks, units and seed: flags of `hfprune score` and of measures of scoring."""

    blocks: ExistingPath | None = Field(
        default=None, description="calibration blocks; weight criteria need none"
    )
    units: Units = Field(default={"neurons": None})
    seed: Seed = 0

    def tokens(self, sequences: int | None = None) -> "Tensor | None":
        """Return all blocks, or the first `sequences` of them."""
        from hfprune.calibration.blocks import load_blocks

        return load_blocks(self.blocks)[:sequences] if self.blocks else None

    def documents(self, sequences: int | None = None) -> list[int] | None:
        """Return the document of each block that `tokens` returns, if the file of the blocks has them."""
        from hfprune.calibration.blocks import block_documents

        documents = block_documents(self.blocks) if self.blocks else None
        return documents and documents[:sequences]

    def check_blocks(self, name: str, criterion: "Criterion") -> None:
        """Fail where a criterion needs blocks and there are none."""
        if criterion.needs != "weights" and not self.blocks:
            raise HfpruneError(f"criterion {name!r} needs --blocks (see `hfprune calibrate`)")

    def scoring_inputs(self, criterion: "Criterion") -> dict[str, Path]:
        """Return, by role, the files that scores by a criterion depend on, besides the model."""
        found = {"criterion": source_file(criterion)}
        return found | ({"blocks": self.blocks} if self.blocks else {})

    def drawn(self) -> dict[str, Any]:
        """Return how the blocks were drawn, for readers; scores are known by the blocks themselves."""
        known = recorded(self.blocks).get("settings", {}) if self.blocks else {}
        return {key: known[key] for key in ("length", "sampling") if key in known}

    def scoring_settings(self, name: str, criterion: "Criterion") -> dict[str, Any]:
        """Return the settings that scores by a criterion depend on."""
        corpus = recorded(self.blocks).get("settings", {}).get("corpus", "") if self.blocks else ""
        chosen = {
            "criterion": name,
            "options": criterion.model_dump(mode="json"),
            "version": criterion.version,
        }
        return chosen | {"corpus": corpus, "units": [*self.units], "seed": self.seed}


class ScoredMethods(Scoring):
    """Flags of `hfprune score` alone: the methods, and of which blocks the scores of each are made."""

    plan: PlanFile | None = Field(
        default=None,
        description="plan of the step before: scores what it has left, and what it has removed as -inf",
    )
    criterion: list[str] = Field(
        default=[],
        description="one or more of those that `hfprune methods` lists; they share passes",
    )
    options: dict[str, Any] = Field(
        default={}, description="options of the criterion as JSON; for several criteria, by name"
    )
    methods: dict[str, ByCriterion] = Field(
        default={}, description="instead of --criterion: {criterion, options, sequences} by method, as JSON"
    )
    sequences: PositiveInt | None = Field(
        default=None, description="number of blocks to read, from the first (all)"
    )
    sizes: dict[PositiveInt, PositiveInt] = Field(
        default={},
        description="in place of all blocks: {size: number of disjoint samples} as JSON, scored in one pass; "
        "methods are then called `entropy_64` and so on, and sample k is draw seed + k",
    )
    resamples: Resamples = 0

    def scored(self) -> dict[str, ByCriterion]:
        """Return the methods, or those that the flags name."""
        if self.methods:
            return self.methods
        names = list(dict.fromkeys(self.criterion))
        options = self.options if len(names) > 1 else dict.fromkeys(names, self.options)
        found = {name: ByCriterion(options=options.get(name, {})) for name in names}
        return by_size(found, self.sizes)

    def criteria(self) -> "dict[str, tuple[str, Criterion]]":
        """Return, by method, the name of its criterion and the criterion with its options.

        Raises:
            HfpruneError: an unknown criterion or option, or a criterion that needs blocks and gets none, or that
                cannot score in steps or by size.
        """
        names = list(dict.fromkeys(self.criterion))
        if bool(names) == bool(self.methods):
            raise HfpruneError("give either --criterion or --methods")
        if len(names) > 1 and (unknown := set(self.options) - set(names)):
            raise HfpruneError(
                f"--options for several criteria are keyed by name; {min(unknown)!r} is not one of {names}"
            )
        found = {}
        for method, about in self.scored().items():
            name = about.criterion or method
            criterion = make_criterion(name, about.options, "--criterion/--options", [*self.units])
            self.check_blocks(name, criterion)
            if self.plan and not criterion.nested:
                raise HfpruneError(f"--plan: {name} chooses all units at once, and cannot go on from a step")
            if about.sequences in self.sizes and criterion.needs == "model":
                raise HfpruneError(f"--sizes: {name} searches anew for each sample, and so has no sizes")
            found[method] = name, criterion
        return found

    def each(self) -> list[tuple[str, int]]:
        """Return every method with each of its draws."""
        return [(method, draw) for method in self.scored() for draw in self.draws(method)]

    def draws(self, method: str) -> list[int]:
        """Return the numbers of a method's draws: the seed, and those that follow for more samples of its size."""
        count = self.sizes.get(self.scored()[method].sequences or 0, 1)
        return [self.seed + number for number in range(count)]

    def sample(self, method: str, draw: int, blocks: int) -> range:
        """Return which of so many blocks a draw of a method is.

        Raises:
            HfpruneError: there are fewer.
        """
        size, number = self.scored()[method].sequences or self.sequences or blocks, draw - self.seed
        if size in self.sizes and (number + 1) * size > blocks:
            needed = f"{(number + 1) * size:,} blocks"
            raise HfpruneError(f"--sizes: draw {draw} of {method} needs {needed}, but there are {blocks:,}")
        return range(number * size, min((number + 1) * size, blocks))

    def resamples_of(self, method: str) -> int:
        """Return how often each draw of a method is resampled, if its criterion can be."""
        # What the plan before has removed depends on the draw too, so its resamples would have other plans before.
        return 0 if self.plan else resamples_of(len(self.draws(method)), self.resamples)
