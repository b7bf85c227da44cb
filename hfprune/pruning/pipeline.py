"""The steps from a model to its pruned checkpoint and the comparison: commands, called in this process."""

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hfprune.assets.catalogue import Catalogue
from hfprune.assets.resolving import resolve
from hfprune.assets.text import Blocks
from hfprune.blocks import load_blocks
from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.extras import missing
from hfprune.files import read_json
from hfprune.models.load import load_skeleton
from hfprune.plans.budget import not_applicable
from hfprune.plans.rules import Allocation
from hfprune.pruning.config import Pruning
from hfprune.pruning.folder import MODEL, WORK
from hfprune.pruning.recipe import chosen
from hfprune.pruning.runner import Step, Steps
from hfprune.recovery.settings import Lora, fewest_sequences
from hfprune.settings import load, validate
from hfprune.stages.budget import Budget
from hfprune.stages.calibrate import Calibrate
from hfprune.stages.dtype import ChooseDtype
from hfprune.stages.export import Export
from hfprune.stages.fetch import fetch
from hfprune.stages.linear import SolveLinear
from hfprune.stages.plan import MakePlan
from hfprune.stages.recover import Recover
from hfprune.stages.score import Score

# Blocks of the calibration: a gradient costs more than a Gram matrix, and solved weights gain more from many.
SCORED, SOLVED = 32, 64
# Sequences of the pairs joined end to end, and few steps: minutes where the official script takes hours.
# Nothing here shows a learning curve.
LORA: dict[str, Any] = {"packing": "plain", "batch": 8, "length": 256, "max_steps": 40, "held_out": 0}


class Pipeline:
    """The steps from a model to its pruned checkpoint; each is a command of this suite, called in this process."""

    def __init__(self, config: Pruning, read_later: Sequence[str], foretell: Callable[[], None]) -> None:
        """Take the flags.

        Args:
            config: the flags.
            read_later: assets of the comparison, as `kind/name`, fetched with the others.
            foretell: says how long all will take, once the model is there.

        Raises:
            HfpruneError: the criterion or the allocation does not fit the units, or a package is missing.
        """
        self.config, self.work = config, config.out / WORK
        self.read_later, self.foretell = read_later, foretell
        self.recipe = chosen(config)
        allocation = {"align": config.align} if config.align else {}
        self.allocation = validate(Allocation, self.recipe.allocation.model_dump() | allocation, "--align")
        if reason := self.allocation.unfit(config.units):
            raise HfpruneError(reason)
        if config.recover and not find_spec("peft"):
            raise HfpruneError(f"--recover: {missing(ModuleNotFoundError(name='peft'))}")
        about = self.recipe.criterion, self.recipe.options
        self.criterion = make_criterion(*about, "--criterion", [*config.units])
        self.reads_text = self.criterion.needs != "weights" or self.recipe.linear

    def steps(self) -> Steps:
        """Return the steps in order."""
        config = self.config
        steps = {
            "fetch": self.fetch,
            "dtype": self.choose_dtype if config.dtype == "auto" else None,
            "budget": self.budget,
            "calibrate": self.calibrate if self.reads_text else None,
            "score": self.score,
            "plan": self.plan,
            "solve again": self.solve if self.recipe.linear else None,
            "recover": self.recover if config.recover else None,
            "export": self.export,
        }
        return {title: step for title, step in steps.items() if step}

    # --- inputs ---------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> Path:
        """The folder of the dense model."""
        return self.asset("models", self.config.model)

    def asset(self, kind: str, spelling: str) -> Path:
        """Return the folder of an asset, which is fetched first unless it is there."""
        return resolve(kind, spelling, self.config.resources, self.config.catalogue)

    @property
    def dtype(self) -> Any:
        """The precision to compute in."""
        auto = self.config.dtype == "auto"
        return read_json(self.work / "dtype.json")["dtype"] if auto else self.config.dtype

    def changes(self) -> dict[str, Any]:
        """Return the plan and, where asked for, the solved weights and the adapter."""
        plan = {"plan": self.work / "plan.safetensors"} | self.solved()
        return plan | ({"adapter": self.work / "adapter"} if self.config.recover else {})

    def solved(self) -> dict[str, Any]:
        """Return the folder of the solved weights, if they are asked for."""
        return {"linear": self.work / "linear"} if self.recipe.linear else {}

    # --- steps ----------------------------------------------------------------------------------------------

    def fetch(self) -> Step:
        """Get the model and all texts, before anything is computed."""

        def run() -> None:
            self.asset("models", self.config.model)
            text = self.asset("corpora", self.config.text).name
            if f"corpora/{text}" in self.read_later:
                raise HfpruneError(f"--text: the comparison reads {text}; calibrate on another text")
            if self.config.recover:
                self.asset("instructions", self.config.recover)
            resources, catalogue = self.config.resources, self.config.catalogue
            absent = [asset for asset in self.read_later if not (resources / asset / "asset.json").is_file()]
            fetch(absent, load(Catalogue, catalogue), catalogue, resources)

        return Step(run, [], {}, {})

    def choose_dtype(self) -> Step:
        """Choose the faster dtype, once for this folder."""
        flags = ChooseDtype(out=self.work / "dtype.json")
        return command(flags)

    def budget(self) -> Step:
        """Check that the model can be pruned, and to this ratio."""
        ratio, units = self.config.ratio, self.config.units
        floor = None if self.allocation.rule == "uniform" else self.allocation.floor
        out = self.work / "budget.json"
        flags = Budget(model=self.model, ratios=[ratio], units=[units], floor=floor, out=out)
        task = command(flags, allocation=self.allocation.model_dump())

        def run() -> None:
            dense = load_skeleton(self.model)
            if note := not_applicable(dense, ratio, units, self.allocation):
                raise HfpruneError(
                    f"ratio {ratio:g}: the method {note}; choose another ratio or other --units"
                )
            task.run()
            self.foretell()

        return task._replace(run=run)

    def _fewest(self) -> int:
        """Return the fewest blocks that linear recovery takes, once the budget is known."""
        ((found,),) = ([*kept.values()] for kept in read_json(self.work / "budget.json")["kept"].values())
        return fewest_sequences(found.get("neurons", 0), self.config.length)

    def blocks(self) -> int:
        """Return how many blocks are drawn, once the budget is known."""
        wanted = self.config.sequences or (SOLVED if self.recipe.linear else SCORED)
        return max(wanted, self._fewest()) if self.recipe.linear else wanted

    def scored(self) -> int:
        """Return how many of the blocks, at most, are scored on."""
        return self.config.sequences or SCORED

    def calibrate(self) -> Step:
        """Draw the blocks that are scored on, and to which weights are solved."""
        flags = Calibrate(
            model=self.model,
            corpus=self.asset("corpora", self.config.text),
            blocks=Blocks(sequences=self.blocks(), length=self.config.length, sampling="pack"),
            seed=self.config.seed,
            out=self.work / "blocks.safetensors",
        )
        return command(flags)

    def score(self) -> Step:
        """Score every unit; a killed run resumes. A text too short for linear recovery fails before."""
        if self.recipe.linear:
            found, least = len(load_blocks(self.work / "blocks.safetensors")), self._fewest()
            if found < least:
                raise HfpruneError(
                    f"--text: {self.config.text} fills {found} blocks, but weights are solved again from {least} "
                    "or more: give a longer text, or --no-linear"
                )
        blocks = self.work / "blocks.safetensors" if self.criterion.needs != "weights" else None
        flags = Score(
            model=self.model,
            blocks=blocks,
            criterion=[self.recipe.criterion],
            options=self.recipe.options,
            sequences=self.scored() if blocks else None,
            out=self.work / "scores.safetensors",
            dtype=self.dtype,
            **self.config.model_dump(include={"units", "seed"}),
        )
        return command(flags, version=self.criterion.version)

    def plan(self) -> Step:
        """Choose the units to keep."""
        flags = MakePlan(
            model=self.model,
            scores=self.work / "scores.safetensors",
            allocation=self.allocation,
            out=self.work / "plan.safetensors",
            **self.config.model_dump(include={"ratio", "units"}),
        )
        return command(flags)

    def solve(self) -> Step:
        """Solve the weights again; a killed run resumes."""
        flags = SolveLinear(
            model=self.model,
            blocks=self.work / "blocks.safetensors",
            plan=self.work / "plan.safetensors",
            out=self.work / "linear",
            dtype=self.dtype,
        )
        return command(flags)

    def recover(self) -> Step:
        """Train an adapter; a killed run resumes."""
        flags = Recover(
            model=self.model,
            plan=self.work / "plan.safetensors",
            instructions=self.asset("instructions", self.config.recover or ""),
            options=Lora(**LORA),
            out=self.work / "adapter",
            **self.solved(),
            seed=self.config.seed,
            dtype=self.dtype,
        )
        return command(flags)

    def export(self, results: Path | None = None, files: Sequence[Path] = ()) -> Step:
        """Write the checkpoint with its card, which shows the results of a folder."""
        flags = Export(
            model=self.model,
            results=results,
            out=self.config.out / MODEL,
            # Weights stay as they were saved, unless a precision is asked for.
            dtype=None if self.config.dtype == "auto" else self.config.dtype,
            align=self.config.align or 1,
            command=self.config.again(),
            **self.changes(),
        )
        found = {path.relative_to(self.work).as_posix(): path for path in files}
        return command(flags, found)

    def settings(self) -> dict[str, Any]:
        """Return the settings, to be shown."""
        found = self.config.model_dump(mode="json", exclude={"out", "resources", "catalogue"})
        found |= self.recipe._asdict() | {"allocation": self.allocation.model_dump()}
        found["gained"] = self.recipe.gained or None
        blocks = self.work / "blocks.safetensors"
        # A short text fills fewer than were asked for.
        read = len(load_blocks(blocks)) if self.reads_text else 0
        scored = min(read, self.scored()) if self.criterion.needs != "weights" else None
        solved = read if self.recipe.linear else None
        del found["sequences"]
        return found | {"sequences scored on": scored, "sequences used to solve weights": solved}


def command(flags: Any, inputs: dict[str, Path] | None = None, **settings: Any) -> Step:
    """Return a command with its flags: paths are what it reads, all else but `out` its settings."""
    paths = {
        name: value for name, value in flags if isinstance(value, Path) and name not in ("out", "results")
    }
    used = flags.model_dump(mode="json", exclude={*paths, "out", "results"}) | settings
    return Step(flags.run, [flags.out], paths | (inputs or {}), used)
