"""Predict the hours and memory of a study on a device, and the claims that it can decide.

Predictions come from counts of operations and the device's peak. No assets need to be fetched.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.assets.places import resources_folder
from hfprune.assets.shipped import shipped
from hfprune.errors import HfpruneError, nearest
from hfprune.settings import load
from hfprune.stages import Command
from hfprune.stages.fields import CatalogueFile, Resources, StudyFile
from hfprune.study.study import Study

EARLIER = Path("results")
LIKE = Path("recovery")


class PrintCost(Command):
    """The study and the device whose costs are predicted."""

    example: ClassVar = "hfprune cost --study config/studies/paper.yaml --device a100-80"

    study: StudyFile
    like: Path | None = Field(
        default=None,
        description="name or results folder of an earlier study with outcomes of items, whose spread "
        f"tells which claims this study can decide (default: {LIKE}, if it is there)",
    )
    device: str | None = Field(
        default=None, description="a device of hfprune/devices/devices.yaml (this machine's)"
    )
    catalogue: CatalogueFile = Path("config/assets.yaml")
    resources: Resources = Field(default_factory=resources_folder)

    def run(self) -> None:
        """Print the predicted cost by stage and in all and, if there is an earlier study, the decidable claims.

        Raises:
            HfpruneError: the device is unknown, or the earlier study has no outcomes of items here.
        """
        from hfprune.assets.catalogue import Catalogue
        from hfprune.cost.choice import costs_of
        from hfprune.cost.listing import summary, table
        from hfprune.devices.known import nominal_cpu, table_device, visible_device

        like = _earlier(self.like)
        device = table_device(self.device) if self.device else visible_device() or nominal_cpu()
        costs = costs_of(self.study, load(Catalogue, self.catalogue), device, self.resources)
        print(table(costs), "", *summary(costs), sep="\n")
        if like:
            print(f"\n{_claims(costs.study, like)}")


def _earlier(named: Path | None) -> Path | None:
    """Return the results folder of an earlier study, by default that of `LIKE` if it exists.

    Raises:
        HfpruneError: the named study has no outcomes of items here.
    """
    from hfprune.results.files import ITEMS

    places = EARLIER / (named or LIKE), named or LIKE
    folder = next((at for at in places if (at / ITEMS).exists()), None)
    if named and not folder:
        there = sorted(at.parent.name for at in EARLIER.glob(f"*/{ITEMS}"))
        raise HfpruneError(
            f"--like {named}: no {ITEMS} in {' or '.join(map(str, places))}{nearest(named.name, there)}"
        )
    return folder


def _claims(study: "Study", like: Path) -> str:
    from tabulate import tabulate

    from hfprune.cost.decidable import Decidable, decidable
    from hfprune.paper.relations import Paper
    from hfprune.results.evidence import Evidence

    claims = [*decidable(Paper.read(shipped(Path("paper/claims.yaml"))), study, Evidence(like))]
    if not claims:
        return "claims: none of the paper's is about an outcome that this study measures item by item"
    rows = [["" if value != value else value for value in row] for row in claims]
    headers = [name.replace("_", " ") for name in Decidable._fields]
    about = (
        f"what it can decide, if effects vary as in {like} and accuracies are above a guess: half widths are of "
        "95 % intervals, and 80 % of repetitions would show the minimum detectable effect"
    )
    return f"{about}\n\n{tabulate(rows, headers, tablefmt='github', floatfmt='.2g')}"
