"""Flags that `score` shares with measures of scoring: the blocks, the units and the seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hfprune.errors import HfpruneError
from hfprune.plugins.registry import source_file
from hfprune.provenance import recorded
from hfprune.settings import Strict
from hfprune.stages.fields import ExistingPath, Seed
from hfprune.study.method import Units

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
