"""The steps from a model to its pruned checkpoint and the comparison: commands, called in this process."""

import sys
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hfprune.analysis.before_after import Row, compare, weight_bytes
from hfprune.assets.catalogue import Catalogue
from hfprune.assets.resolving import resolve
from hfprune.blocks import load_blocks
from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.extras import missing
from hfprune.files import read_json
from hfprune.measures import MEASURES, Measure
from hfprune.measuring import with_batch_size
from hfprune.models.load import load_skeleton, load_tokenizer
from hfprune.plans.budget import not_applicable
from hfprune.plans.rules import Allocation
from hfprune.pruning.compared import CAPABILITIES, HELDOUT, MEASURED
from hfprune.pruning.folder import MODEL, WORK
from hfprune.pruning.steps import Step, Task
from hfprune.recovery.settings import fewest_sequences
from hfprune.results import read_result
from hfprune.settings import load, validate
from hfprune.stages import budget, calibrate, export, linear, measure, plan, recover, score
from hfprune.stages.fetch import fetch
from hfprune.study.entries import StudyMeasure

if TYPE_CHECKING:
    from hfprune.pruning.prune import Config

# Sequences of the pairs joined end to end, and few steps: minutes where the official script takes hours.
# Nothing here shows a learning curve.
LORA = {"packing": "plain", "batch": 8, "length": 256, "max_steps": 40, "held_out": 0}


class Making:
    """The steps from a model to its pruned checkpoint; each is a command of this suite, called in this process."""

    def __init__(self, config: "Config") -> None:
        """Take the flags.

        Raises:
            HfpruneError: the criterion or the allocation does not fit the units, or a package is missing.
        """
        self.config, self.work = config, config.out / WORK
        self.results = self.work / "results"
        self.places = {"resources": config.resources, "catalogue": config.catalogue}
        allocation = {"align": config.align} if config.align else {}
        self.allocation = validate(Allocation, config.allocation.model_dump() | allocation, "--align")
        if reason := self.allocation.unfit(config.units):
            raise HfpruneError(reason)
        if config.recover and not find_spec("peft"):
            raise HfpruneError(f"--recover: {missing(ModuleNotFoundError(name='peft'))}")
        # Right answers need lm-eval; all else is worth having without.
        self.answers = bool(find_spec("lm_eval"))
        self.criterion = make_criterion(config.criterion, {}, "--criterion", [*config.units])
        self.reads_text = self.criterion.needs != "weights" or config.linear

    def steps(self) -> list[Step]:
        """Return the steps in order: the model first, then what it lost, which goes into its card."""
        config = self.config
        return [
            Step("fetch", self.fetch),
            Step("budget", self.budget),
            *([Step("calibrate", self.calibrate)] if self.reads_text else []),
            Step("score", self.score),
            Step("plan", self.plan),
            *([Step("solve again", self.solve)] if config.linear else []),
            *([Step("recover", self.recover)] if config.recover else []),
            Step("export", self.export),
            *(
                [*self._comparison(), Step("card", lambda: self.export(measured=True))]
                if config.compare
                else []
            ),
        ]

    def _comparison(self) -> list[Step]:
        answers = [
            Step("right answers by the dense model", lambda: self.measure("gold_bpb", dense=True)),
            Step("right answers by the pruned model", lambda: self.measure("gold_bpb")),
        ]
        if not self.answers:
            line = missing(ModuleNotFoundError(name="lm_eval"))
            print(f"right answers are left out of the comparison: {line}", file=sys.stderr)
        return [
            Step("perplexity of the dense model", lambda: self.measure("perplexity", dense=True)),
            Step("perplexity of the pruned model", lambda: self.measure("perplexity")),
            Step("distance to the dense model", lambda: self.measure("fidelity")),
            *(answers if self.answers else []),
            Step("speed of both in turns", lambda: self.measure("latency")),
        ]

    # --- inputs ---------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> Path:
        """The folder of the dense model."""
        return self.asset("models", self.config.model)

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures of the comparison."""
        tokenizer = load_tokenizer(self.model)
        first = (tokenizer("a")["input_ids"] or [None])[0]
        # As the model was trained: BOS where its tokenizer adds it.
        settings = MEASURED | {
            "gold_bpb": CAPABILITIES | {"add_bos": first == tokenizer.bos_token_id is not None}
        }
        return {name: with_batch_size(MEASURES.make(name, about, name)) for name, about in settings.items()}

    def asset(self, kind: str, spelling: str) -> Path:
        """Return the folder of an asset, which is fetched first unless it is there."""
        return resolve(kind, spelling, **self.places)

    def changes(self) -> dict[str, Any]:
        """Return the plan and, where asked for, the solved weights and the adapter."""
        plan = {"plan": self.work / "plan.safetensors"} | self.solved()
        return plan | ({"adapter": self.work / "adapter"} if self.config.recover else {})

    def solved(self) -> dict[str, Any]:
        """Return the folder of the solved weights, if they are asked for."""
        return {"linear": self.work / "linear"} if self.config.linear else {}

    # --- steps ----------------------------------------------------------------------------------------------

    def fetch(self) -> Task:
        """Get the model and all texts, before anything is computed."""
        compared = self.config.compare
        read = [f"corpora/{HELDOUT['corpus']}"] if compared else []
        if self.answers and compared:
            read += [f"requests/{name}" for group in CAPABILITIES["groups"].values() for name in group]

        def run() -> None:
            self.asset("models", self.config.model)
            text = self.asset("corpora", self.config.text).name
            if compared and text == HELDOUT["corpus"]:
                raise HfpruneError(
                    f"--text: the comparison reads {HELDOUT['corpus']}; calibrate on another text"
                )
            if self.config.recover:
                self.asset("instructions", self.config.recover)
            absent = [asset for asset in read if not (self.config.resources / asset / "asset.json").is_file()]
            fetch(
                absent, load(Catalogue, self.config.catalogue), self.config.catalogue, self.config.resources
            )

        return Task(run, None, {}, {})

    def budget(self) -> Task:
        """Check that the model can be pruned, and to this ratio."""
        ratio, units = self.config.ratio, self.config.units
        floor = None if self.allocation.rule == "uniform" else self.allocation.floor
        out = self.work / "budget.json"
        flags = budget.Config(model=self.model, ratios=[ratio], units=[units], floor=floor, out=out)
        task = _command(budget, flags, allocation=self.allocation.model_dump())

        def run() -> None:
            if note := not_applicable(load_skeleton(self.model), ratio, units, self.allocation):
                raise HfpruneError(
                    f"ratio {ratio:g}: the method {note}; choose another ratio or other --units"
                )
            task.run()
            ((found,),) = ([*kept.values()] for kept in read_json(out)["kept"].values())
            least = fewest_sequences(found.get("neurons", 0), self.config.length)
            if self.config.linear and self.config.sequences < least:
                raise HfpruneError(f"--linear: give --sequences {least} or more at this ratio and length")

        return task._replace(run=run)

    def calibrate(self) -> Task:
        """Draw the blocks that are scored on."""
        flags = calibrate.Config(
            model=self.model,
            corpus=self.asset("corpora", self.config.text),
            sampling="pack",
            out=self.work / "blocks.safetensors",
            **self.config.model_dump(include={"sequences", "length", "seed"}),
        )
        task = _command(calibrate, flags)

        def run() -> None:
            task.run()
            if (count := len(load_blocks(flags.out))) < flags.sequences:
                print(
                    f"calibrate: {self.config.text} fills {count} of {flags.sequences} blocks",
                    file=sys.stderr,
                )

        return task._replace(run=run)

    def score(self) -> Task:
        """Score every unit; a killed run resumes."""
        blocks = self.work / "blocks.safetensors" if self.criterion.needs != "weights" else None
        flags = score.Config(
            model=self.model,
            blocks=blocks,
            criterion=[self.config.criterion],
            out=self.work / "scores.safetensors",
            **self.config.model_dump(include={"units", "seed", "dtype"}),
        )
        return _command(score, flags, version=self.criterion.version)

    def plan(self) -> Task:
        """Choose the units to keep."""
        flags = plan.Config(
            model=self.model,
            scores=self.work / "scores.safetensors",
            allocation=self.allocation,
            out=self.work / "plan.safetensors",
            **self.config.model_dump(include={"ratio", "units"}),
        )
        return _command(plan, flags)

    def solve(self) -> Task:
        """Solve the weights again; a killed run resumes."""
        flags = linear.Config(
            model=self.model,
            blocks=self.work / "blocks.safetensors",
            plan=self.work / "plan.safetensors",
            out=self.work / "linear",
            dtype=self.config.dtype,
        )
        return _command(linear, flags)

    def recover(self) -> Task:
        """Train an adapter; a killed run resumes."""
        flags = recover.Config(
            model=self.model,
            plan=self.work / "plan.safetensors",
            instructions=self.asset("instructions", self.config.recover or ""),
            options=LORA,
            out=self.work / "adapter",
            **self.solved(),
            **self.config.model_dump(include={"seed", "dtype"}),
        )
        return _command(recover, flags)

    def measure(self, name: str, dense: bool = False) -> Task:
        """Measure the pruned model, or the dense one."""
        it, changes = self.measures[name], {} if dense else self.changes()
        out = self.results / ("dense" if dense else "pruned")
        files = measure.ToMeasure(out=out, **changes)
        asked = measure.Config(
            model=self.model,
            resources=self.config.resources,
            dtype=self.config.dtype,
            measures={name: StudyMeasure(settings=it.model_dump())},
            cells=[files],
        )
        assets = {asset: self.config.resources / asset for asset in it.assets()}
        settings = it.model_dump(mode="json") | {"version": it.version, "dtype": self.config.dtype}
        done = out / (name if it.per_task else f"{name}.json")
        return Task(lambda: measure.run(asked), done, {"model": self.model} | changes | assets, settings)

    def export(self, measured: bool = False) -> Task:
        """Write the checkpoint with its card, and once it is measured, again with the results in the card."""
        flags = export.Config(
            model=self.model,
            results=self.results if measured else None,
            out=self.config.out / MODEL,
            **self.config.model_dump(include={"format", "dtype"}),
            **self.changes(),
        )
        # An export that is made again needs its results again.
        files = [*self.result_files(), self.work / "steps/export.json"] if measured else []
        found = {path.relative_to(self.work).as_posix(): path for path in files}
        return _command(export, flags, found)

    # --- outcome --------------------------------------------------------------------------------------------

    def result_files(self) -> list[Path]:
        """Return the results of the comparison, if it is asked for."""
        return [] if not self.config.compare else sorted(self.results.rglob("*.json"))

    def rows(self) -> list[Row]:
        """Return the comparison."""
        results = [read_result(path) for path in self.result_files()]
        total = read_json(self.work / "budget.json")["parameters"]
        left = read_json(self.config.out / MODEL / "provenance.json")["parameters"]
        weights = weight_bytes(self.model), weight_bytes(self.config.out / MODEL)
        return compare(results, (total, left), weights)

    def settings(self) -> dict[str, Any]:
        """Return the settings, to be shown."""
        return self.config.model_dump(mode="json", exclude={"out", "resources", "catalogue"})


def _command(module: ModuleType, flags: Any, inputs: dict[str, Path] | None = None, **settings: Any) -> Task:
    """Return a command with its flags: paths are what it reads, all else but `out` its settings."""
    paths = {
        name: value for name, value in flags if isinstance(value, Path) and name not in ("out", "results")
    }
    used = flags.model_dump(mode="json", exclude={*paths, "out", "results"}) | settings
    return Task(lambda: module.run(flags), flags.out, paths | (inputs or {}), used)
