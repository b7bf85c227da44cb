"""One job of a study: what it reads and writes, its settings, and what it needs of the machine."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from hfprune.results import Cell
from hfprune.settings import Strict


@dataclass(frozen=True)
class Job:
    """One call of a stage."""

    rule: str
    """Its rule in the workflow: the stage's name, or one that begins with it."""
    config: Strict
    """The `Config` of its stage, in `hfprune.stages`."""
    inputs: dict[str, list[str]]
    """Files by role, below the project's folder."""
    outputs: dict[str, list[str]]
    at: dict[str, str] = field(default_factory=dict)
    """The wildcards of its rule."""
    model: str = ""
    """Name of the model that it reads; empty if it reads none."""
    cells: tuple[Cell, ...] = ()
    takes: Literal["core", "device", "machine"] = "core"
    """`core`: one core, and no pass of a model. `device`: a GPU, or a core. `machine`: all cores, or a GPU."""
    timed: bool = False
    """Whether it measures times, so that nothing may run beside it."""
    ancient: tuple[str, ...] = ()
    """Roles of inputs whose age does not matter: the others say whether they have changed."""
    trigger: Any = None
    """What makes it run again besides its settings and inputs: versions, a catalogue's entry."""

    @property
    def stage(self) -> str:
        """The command that it calls."""
        return type(self.config).__module__.rpartition(".")[2]

    @property
    def about(self) -> str:
        """The model and the cell, for messages."""
        cells = [
            f"{one.method} {'' if one.ratio is None else f'{one.ratio:g} '}seed {one.seed}"
            for one in self.cells
        ]
        first = cells[:1] + [f"and {len(cells) - 1} more cells"] * (len(cells) > 1)
        recovery = {one.recovery for one in self.cells} - {"none"}
        return ", ".join([*filter(None, [self.model or "the study"]), *first, *recovery])

    def settings(self) -> str:
        """Return the settings as JSON, for `--settings`."""
        return json.dumps(self.config.model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def wildcards(cell: Cell, **more: str) -> dict[str, str]:
    """Return the wildcards of a pruned or dense cell, and more."""
    whole = {"model": cell.model, "method": cell.method, "ratio": f"{cell.ratio:g}", "seed": f"{cell.seed}"}
    return whole | more
