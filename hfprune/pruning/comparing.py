"""The comparison of a pruned model with its dense one: its steps, and what they found."""

import sys
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from hfprune.analysis.before_after import Row, compare, verdict, weight_bytes
from hfprune.exports.card import SAMPLE
from hfprune.extras import missing
from hfprune.files import read_json
from hfprune.measures import MEASURES, Measure
from hfprune.measuring import with_batch_size
from hfprune.models.load import load_skeleton, load_tokenizer
from hfprune.pruning import sample
from hfprune.pruning.compared import CAPABILITIES, HELDOUT, MEASURED, QUICK, fitting
from hfprune.pruning.config import Config
from hfprune.pruning.estimate import minutes
from hfprune.pruning.folder import MODEL
from hfprune.pruning.pipeline import Pipeline, command
from hfprune.pruning.runner import Step, Task
from hfprune.results import read_result
from hfprune.stages import measure
from hfprune.study.entries import StudyMeasure


class Comparing:
    """The steps that measure a pruned model beside its dense one, after those that make it."""

    def __init__(self, config: Config) -> None:
        """Take the flags.

        Raises:
            HfpruneError: as `Pipeline`.
        """
        self.config = config
        # Right answers need lm-eval; all else is worth having without.
        self.answers = config.compare and not config.quick and bool(find_spec("lm_eval"))
        read = [f"corpora/{HELDOUT['corpus']}"] if config.compare else []
        if self.answers:
            read += [f"requests/{name}" for group in CAPABILITIES["groups"].values() for name in group]
        self.pipeline = Pipeline(config, read, self._foretell)
        self.work, self.results = (
            self.pipeline.work,
            self.pipeline.work / ("quick" if config.quick else "results"),
        )

    def steps(self) -> list[Step]:
        """Return the steps in order: the model first, then what it lost, which goes into its card."""
        asked, before = self.config, self.pipeline.steps()
        if not asked.compare:
            return before
        answers = [
            Step("right answers by the dense model", lambda: self.measure("gold_bpb", dense=True)),
            Step("right answers by the pruned model", lambda: self.measure("gold_bpb")),
        ]
        speed = Step("speed of both in turns", lambda: self.measure("latency"))
        if not self.answers and not asked.quick:
            line = missing(ModuleNotFoundError(name="lm_eval"))
            print(f"right answers are left out of the comparison: {line}", file=sys.stderr)
        return [
            *before,
            Step("perplexity of the dense model", lambda: self.measure("perplexity", dense=True)),
            Step("perplexity of the pruned model", lambda: self.measure("perplexity")),
            Step("distance to the dense model", lambda: self.measure("fidelity")),
            *(answers if self.answers else []),
            *([] if asked.quick else [speed]),
            Step("sample of both", self.say),
            Step("card", self.card),
        ]

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures of the comparison."""
        settings = QUICK if self.config.quick else {**MEASURED}
        if self.answers:
            tokenizer = load_tokenizer(self.pipeline.model)
            first = (tokenizer("a")["input_ids"] or [None])[0]
            groups = fitting(self.config.resources, self.pipeline.model, tokenizer)
            # As the model was trained: BOS where its tokenizer adds it.
            bos = first == tokenizer.bos_token_id is not None
            settings["gold_bpb"] = CAPABILITIES | {"groups": groups, "add_bos": bos}
        if not settings.get("gold_bpb", {}).get("groups") or not self.answers:
            settings = {name: about for name, about in settings.items() if name != "gold_bpb"}
        return {name: with_batch_size(MEASURES.make(name, about, name)) for name, about in settings.items()}

    def _foretell(self) -> None:
        """Say how long it will take."""
        pipeline, asked = self.pipeline, self.config
        read = pipeline.criterion, pipeline.scored(), asked.length, [*asked.units]
        blocks = pipeline.blocks() if pipeline.recipe.linear else None
        measured = [(it, it.needs == "model") for it in self.measures.values()] if self.config.compare else []
        model, comparison = minutes(
            pipeline.model, pipeline.dtype, asked.ratio, (pipeline.recipe.criterion, *read), blocks, measured
        )
        then = f", then about {comparison:.1f} for the comparison" if self.config.compare else ""
        print(f"about {model:.1f} minutes to the model{then} ({self.pipeline.dtype})", file=sys.stderr)

    def measure(self, name: str, dense: bool = False) -> Task:
        """Measure the pruned model, or the dense one; nothing where no document fits the model."""
        if name not in self.measures:
            return Task(lambda: None, None, {}, {})
        it, changes = self.measures[name], {} if dense else self.pipeline.changes()
        out = self.results / ("dense" if dense else "pruned")
        files = measure.ToMeasure(out=out, **changes)
        asked = measure.Config(
            model=self.pipeline.model,
            resources=self.config.resources,
            dtype=self.pipeline.dtype,
            measures={name: StudyMeasure(settings=it.model_dump())},
            cells=[files],
        )
        assets = {asset: self.config.resources / asset for asset in it.assets()}
        settings = it.model_dump(mode="json") | {"version": it.version, "dtype": self.pipeline.dtype}
        done = out / (name if it.per_task else f"{name}.json")

        def run() -> None:
            for old in done.glob("*.*") if it.per_task else ():
                if old.stem not in it.by_task():  # of another model, which more of the tasks fitted
                    old.unlink()
            measure.run(asked)

        return Task(run, done, {"model": self.pipeline.model} | changes | assets, settings)

    def say(self) -> Task:
        """Let both models continue a sentence."""
        flags = sample.Config(
            model=self.pipeline.model,
            dtype=self.pipeline.dtype,
            out=self.results / SAMPLE,
            **self.pipeline.changes(),
        )
        return command(sample, flags)

    def card(self) -> Task:
        """Write the model again, with the results in its card; an export that is made again needs them again."""
        files = [*self.result_files(), self.results / SAMPLE, self.work / "steps/export.json"]
        return self.pipeline.export(self.results, files)

    def result_files(self) -> list[Path]:
        """Return the results of the comparison, if it is asked for."""
        found = self.results.rglob("*.json") if self.config.compare else ()
        return sorted(path for path in found if path.name != SAMPLE)

    def rows(self) -> list[Row]:
        """Return the comparison."""
        results = {path: read_result(path) for path in self.result_files()}
        total = read_json(self.work / "budget.json")["parameters"]
        left = read_json(self.config.out / MODEL / "provenance.json")["parameters"]
        weights = weight_bytes(self.pipeline.model), weight_bytes(self.config.out / MODEL)
        return compare(results, (total, left), weights)

    def verdict(self, rows: list[Row]) -> list[str]:
        """Return in sentences what was lost, from the comparison."""
        size = load_skeleton(self.pipeline.model).config.vocab_size
        said = verdict(rows, size, self.pipeline.recipe.linear or bool(self.config.recover))
        source = self.pipeline.model / "asset.json"
        about = read_json(source) if source.is_file() else {}
        if about.get("entry", {}).get("format") == "gguf" and not self.config.quantize:
            written = weight_bytes(self.config.out / MODEL) / 1e6
            said.append(
                f"The dense model came as a GGUF file, perhaps quantised; this export has {written:,.0f} MB, each "
                "weight in full. --format gguf --quantize Q8_0 takes about 1.1 bytes a parameter."
            )
        return said

    def sample(self) -> dict[str, str]:
        """Return how both models continue a sentence, if they are compared."""
        return read_json(self.results / SAMPLE) if self.config.compare else {}
