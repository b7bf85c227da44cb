"""The comparison of a pruned model with its dense one: its steps, and what they found."""

import sys
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from hfprune.analysis.before_after import Row, compare, verdict, weight_bytes
from hfprune.exports.card import SAMPLE
from hfprune.extras import missing
from hfprune.files import read_json
from hfprune.measures import MEASURES, Measure, stems
from hfprune.measuring import with_batch_size
from hfprune.models.load import load_skeleton
from hfprune.pruning.compared import CAPABILITIES, HELDOUT, MEASURED, QUICK, fitting
from hfprune.pruning.config import Pruning
from hfprune.pruning.estimate import foretell
from hfprune.pruning.folder import MODEL
from hfprune.pruning.pipeline import Pipeline, command
from hfprune.pruning.runner import Step, Steps
from hfprune.pruning.sample import Sample
from hfprune.results import read_result
from hfprune.stages.measure import MeasureCells, ToMeasure
from hfprune.study.entries import NamedMeasure


class Comparing:
    """The steps that measure a pruned model beside its dense one, after those that make it."""

    def __init__(self, config: Pruning) -> None:
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
        self.pipeline = Pipeline(config, read, lambda: foretell(self.pipeline, self.measures.values()))
        self.work = self.pipeline.work
        self.results = self.work / ("quick" if config.quick else "results")

    def steps(self) -> Steps:
        """Return the steps in order: the model first, then what it lost, which goes into its card."""
        if not self.config.compare:
            return self.pipeline.steps()
        if not self.answers and not self.config.quick:
            line = missing(ModuleNotFoundError(name="lm_eval"))
            print(f"right answers are left out of the comparison: {line}", file=sys.stderr)
        return self.pipeline.steps() | {
            "measures of the dense model": lambda: self.measure(dense=True),
            "measures of the pruned model": self.measure,
            "sample of both": self.say,
            "card": self.card,
        }

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures of the comparison, if it is asked for."""
        settings = {} if not self.config.compare else QUICK if self.config.quick else MEASURED
        if self.answers:
            # Before the speed, which keeps both models.
            settings = fitting(self.config.resources, self.pipeline.model) | settings
        return {name: with_batch_size(MEASURES.make(name, about, name)) for name, about in settings.items()}

    def measure(self, dense: bool = False) -> Step:
        """Take the measures of the pruned model, or of the dense one; a killed run keeps those that it has."""
        taken = {name: it for name, it in self.measures.items() if it.needs == "model" or not dense}
        changes = {} if dense else self.pipeline.changes()
        out = self.results / ("dense" if dense else "pruned")
        asked = MeasureCells(
            model=self.pipeline.model,
            resources=self.config.resources,
            dtype=self.pipeline.dtype,
            measures={name: NamedMeasure(settings=it.model_dump()) for name, it in taken.items()},
            cells=[ToMeasure(out=out, **changes)],
        )
        assets = {asset: self.config.resources / asset for it in taken.values() for asset in it.assets()}
        settings = asked.model_dump(mode="json", include={"measures", "dtype"})
        settings["versions"] = {name: it.version for name, it in taken.items()}
        made = [out / f"{stem}.json" for name, it in taken.items() for stem in stems(name, it)]

        def run() -> None:
            for old in {*out.glob("gold_bpb/*.json")} - {*made}:  # of another model, which more tasks fitted
                old.unlink()
                old.with_suffix(".parquet").unlink(missing_ok=True)
            asked.run()

        return Step(run, made, {"model": self.pipeline.model} | changes | assets, settings)

    def say(self) -> Step:
        """Let both models continue a sentence."""
        flags = Sample(
            model=self.pipeline.model,
            dtype=self.pipeline.dtype,
            out=self.results / SAMPLE,
            **self.pipeline.changes(),
        )
        return command(flags)

    def card(self) -> Step:
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
        if about.get("entry", {}).get("format") == "gguf":
            written = weight_bytes(self.config.out / MODEL) / 1e6
            said.append(
                f"The dense model came as a GGUF file, perhaps quantised; this export has {written:,.0f} MB, each "
                "weight in full. llama.cpp's own converter makes it small again (docs/exports.md)."
            )
        return said

    def sample(self) -> dict[str, str]:
        """Return how both models continue a sentence, if they are compared."""
        return read_json(self.results / SAMPLE) if self.config.compare else {}
