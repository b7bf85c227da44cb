"""Flags that `score` shares with measures of scoring: the blocks, the units and the seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from hfprune.calibration.sizes import resamples_of
from hfprune.criteria import CRITERIA, make_criterion
from hfprune.errors import HfpruneError
from hfprune.plugins.registry import source_file
from hfprune.provenance import recorded
from hfprune.settings import Strict
from hfprune.stages.fields import ExistingPath, PlanFile, Seed
from hfprune.study.calibration import Resamples
from hfprune.study.method import ByCriterion, Units

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
        """Return the document of each block that `tokens` returns; None if the file does not record it."""
        from hfprune.calibration.blocks import block_documents

        documents = block_documents(self.blocks) if self.blocks else None
        return documents and documents[:sequences]

    def check_blocks(self, name: str, criterion: "Criterion") -> None:
        """Fail if a criterion needs blocks and there are none."""
        if criterion.needs != "weights" and not self.blocks:
            raise HfpruneError(f"criterion {name!r} needs --blocks (see `hfprune calibrate`)")

    def scoring_inputs(self, criterion: "Criterion") -> dict[str, Path]:
        """Return, by role, the files that scores by a criterion depend on, besides the model."""
        inputs = {"criterion": source_file(criterion)}
        return inputs | ({"blocks": self.blocks} if self.blocks else {})

    def drawn(self) -> dict[str, object]:
        """Return how the blocks were drawn, for readers; scores are identified by the blocks themselves."""
        settings = recorded(self.blocks).get("settings", {}) if self.blocks else {}
        return {key: settings[key] for key in ("length", "sampling") if key in settings}

    def scoring_settings(self, name: str, criterion: "Criterion") -> dict[str, object]:
        """Return the settings that scores by a criterion depend on."""
        corpus = recorded(self.blocks).get("settings", {}).get("corpus", "") if self.blocks else ""
        chosen = {
            "criterion": name,
            "options": criterion.model_dump(mode="json"),
            "version": criterion.version,
        }
        return chosen | {"corpus": corpus, "units": [*self.units], "seed": self.seed}


class ScoredMethods(Scoring):
    """Flags of `hfprune score` alone: the methods, and the blocks that each of them reads."""

    plan: PlanFile | None = Field(
        default=None,
        description="plan of the previous step: scores the units that it keeps; those that it removed get -inf",
    )
    criterion: list[str] = Field(
        default=[],
        description="one or more criteria that `hfprune methods` lists; they share passes",
    )
    options: dict[str, Any] = Field(
        default={}, description="options of the criterion as JSON; for several criteria, by name"
    )
    methods: dict[str, ByCriterion] = Field(
        default={}, description="instead of --criterion: {criterion, options} by method, as JSON"
    )
    sequences: PositiveInt | None = Field(
        default=None, description="number of blocks to read, from the first (all)"
    )
    sizes: dict[PositiveInt, PositiveInt] = Field(
        default={},
        description="instead of all blocks: {size: number of disjoint samples} as JSON, scored in one pass; "
        "--out then names the size and the sample, as {sequences} and {draw}, and sample k is draw seed + k",
    )
    resamples: Resamples = 0

    def scored(self) -> dict[str, ByCriterion]:
        """Return the methods of `methods`, or else one per criterion."""
        if self.methods:
            return self.methods
        names = list(dict.fromkeys(self.criterion))
        options = self.options if len(names) > 1 else dict.fromkeys(names, self.options)
        return {name: ByCriterion(options=options.get(name, {})) for name in names}

    def criteria(self) -> "dict[str, tuple[str, Criterion]]":
        """Return, by method, the name of its criterion and the criterion with its options.

        Raises:
            HfpruneError: a criterion or option is unknown, or a criterion needs blocks and gets none, or cannot
                score in steps or by size.
        """
        names = list(dict.fromkeys(self.criterion))
        if bool(names) == bool(self.methods):
            raise HfpruneError("give either --criterion or --methods")
        if len(names) > 1 and (unknown := set(self.options) - set(names)):
            raise HfpruneError(
                f"--options for several criteria are keyed by name; {min(unknown)!r} is not one of {names}"
            )
        criteria = {}
        for method, about in self.scored().items():
            name = about.criterion or method
            criterion = make_criterion(name, about.options, "--criterion/--options", [*self.units])
            self.check_blocks(name, criterion)
            if self.plan and not criterion.nested:
                raise HfpruneError(f"--plan: {name} chooses all units at once, and cannot go on from a step")
            if criterion.needs == "model" and len(self.samples(method)) > 1:
                raise HfpruneError(
                    f"--sizes: {name} searches anew for each sample; give one size of one sample"
                )
            criteria[method] = name, criterion
        return criteria

    def scorings(self) -> list[tuple[str, int, int]]:
        """Return every method with each of its sizes (0: it reads all blocks, or none) and draws."""
        return [(method, *sample) for method in self.scored() for sample in self.samples(method)]

    def samples(self, method: str) -> list[tuple[int, int]]:
        """Return the sizes of a method with their draws: `seed`, and the numbers after it for more samples."""
        criterion = self.scored()[method].criterion or method
        exists = criterion in CRITERIA.sources()
        if not self.sizes or not exists or CRITERIA.load(criterion).needs == "weights":
            return [(0, self.seed)]
        return [(size, self.seed + number) for size, count in self.sizes.items() for number in range(count)]

    def sample(self, size: int, draw: int, blocks: int) -> range:
        """Return the range of a draw's blocks among `blocks` blocks.

        Raises:
            HfpruneError: there are too few blocks.
        """
        if not size:
            return range(min(self.sequences or blocks, blocks))
        first = (draw - self.seed) * size
        if not first:
            return range(min(size, blocks))  # all blocks of a shorter text
        if first + size > blocks:
            raise HfpruneError(
                f"--sizes: draw {draw} of {size:,} sequences needs {first + size:,} blocks, but there are "
                f"{blocks:,}"
            )
        return range(first, first + size)

    def resamples_of(self, size: int) -> int:
        """Return how often each draw is resampled, if its criterion can be."""
        # The previous plan depends on the draw, too, so that resamples would have other previous plans.
        return 0 if self.plan else resamples_of(self.sizes.get(size, 1), self.resamples)
