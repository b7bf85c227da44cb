"""A synthetic study, written through the real contract, and fixtures that have one."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from hfprune.cells import DENSE, UNCALIBRATED, Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.criteria import CRITERIA
from hfprune.effects.questions import REFERENCE
from hfprune.effects.standard import effects
from hfprune.measurement import MEASURES
from hfprune.report.table_files import write_tables
from hfprune.results.effect_rows import table
from hfprune.results.evidence import Evidence
from hfprune.results.gathering import collect
from hfprune.stages.effects import MakeEffects
from hfprune.study import paths
from hfprune.study.calibration import Calibrated
from hfprune.study.labels import readable
from hfprune.study.study import Study as Config

PAPER = Path(__file__).parents[1] / "paper"
# Of the calibration, by default.
SEQUENCES = 4

# Accuracy of the dense model.
TASKS = {
    "arc_challenge": 0.37,
    "arc_easy": 0.58,
    "boolq": 0.61,
    "openbookqa": 0.36,
    "piqa": 0.67,
    "social_iqa": 0.40,
    "winogrande": 0.54,
}


def gather(
    config: Config, folder: Path, out: Path | None = None, results: Sequence[Path] | None = None
) -> Path:
    """Collect all results in a folder, or some, as those of the study `test`; return the folder of the tables."""
    file = folder / "test.yaml"
    folder.mkdir(exist_ok=True, parents=True)
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False))
    collect(
        file, sorted(folder.glob("cells/**/*.json")) if results is None else results, folder, out or folder
    )
    return out or folder


def evidence(config: Config, folder: Path) -> Evidence:
    """Collect what is in a folder, beside it, and return it as claims and comparisons read it."""
    return Evidence(gather(config, folder, Path(tempfile.mkdtemp(dir=folder))))


def analysed(out: Path, *more: str) -> Path:
    """Make the analysis of what was collected, and the tables that show it; return their folder."""
    MakeEffects(results=out, claims=PAPER / "claims.yaml").run()
    write_tables(out, PAPER, out / "tables", ["claims", "effects", "draws", "lost", *more])
    return out / "tables"


def effects_of(evidence: Evidence, question: str = REFERENCE) -> pd.DataFrame:
    """Return the effects that answer a question, but for those of single tasks."""
    rows = table(effects(evidence))
    return rows[(rows["question"] == question) & (rows["task"] == "")].reset_index(drop=True)


def resample(result: Path, metric: str, shifts: Sequence[float]) -> None:
    """Give a result resamples, whose outcomes are moved by these; the first is the draw itself."""
    items = pd.read_parquet(path := result.with_suffix(".parquet"))
    moved = [items.assign(resample=n, **{metric: items[metric] + x}) for n, x in enumerate(shifts)]
    pd.concat(moved).to_parquet(path)


def save_layers(path: Path, *layers: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"mlp.{i}": np.ascontiguousarray(layer) for i, layer in enumerate(layers)}, path)
    return path


@contextmanager
def stream_installed() -> Iterator[None]:
    """Let studies name a measure of another package, which has no place in the paper's tables, `stream`."""
    source = EntryPoint("stream", "hfprune.measures.perplexity:Perplexity", MEASURES.package)
    MEASURES.sources()["stream"] = [source]
    yield
    del MEASURES.sources()["stream"]
    MEASURES.load.cache_clear()


@dataclass
class Study:
    """What a study looks like on disk; by default the demo study, small enough for a test."""

    folder: Path
    methods: list[str] = field(default_factory=lambda: ["entropy", "cross_entropy", "magnitude"])
    ratios: list[float] = field(default_factory=lambda: [0.2, 0.3])
    models: list[str] = field(default_factory=lambda: ["tiny-llama"])
    draws: list[int] = field(default_factory=lambda: [0])
    tasks: dict[str, float] = field(default_factory=lambda: TASKS)
    more: dict[str, Any] = field(default_factory=dict)
    """Measures beside those of the paper."""
    layers: int = 4
    neurons: int = 64

    @property
    def results(self) -> list[Path]:
        return sorted(self.folder.glob("cells/**/*.json"))

    @property
    def scores(self) -> list[Path]:
        return sorted(self.folder.glob("scores/**/*.safetensors"))

    def collect(self) -> Path:
        return gather(self.config(), self.folder)

    def result(
        self,
        method: str,
        ratio: float | None,
        measure: str,
        task: str,
        *values: Value,
        items: pd.DataFrame | None = None,
        model: str = "tiny-llama",
        draw: int = 0,
        recovery: str = "none",
        sequences: int | None = None,
        calibration: str = "c4",
    ) -> Path:
        calibrated = self.calibrated(method, sequences, calibration)
        cell = Cell("test", model, method, *calibrated, ratio, draw, Recovery(recovery))
        path = self.folder / "cells" / str(cell) / f"{measure}-{task}.json"
        write_result(path, cell, measure, task, [*values], {}, items)
        return path

    def calibrated(self, method: str, sequences: int | None = None, calibration: str = "c4") -> Calibrated:
        """Return the calibration of a method's cells, and how many of its sequences it reads."""
        if method == DENSE:
            return Calibrated(UNCALIBRATED, 0)
        if sequences is None:
            known = method in CRITERIA.sources() and CRITERIA.load(method).needs != "weights"
            sequences = SEQUENCES if known else 0
        return Calibrated(calibration, sequences)

    def outcomes(
        self,
        method: str,
        ratio: float,
        place: str,
        outcomes: Sequence[float],
        *,
        metric: str = "acc",
        **cell: Any,
    ) -> Path:
        items = pd.DataFrame({"item": range(len(outcomes)), metric: np.asarray(outcomes, float)})
        value = Value(metric, items[metric].mean(), items[metric].sem(), len(items))
        measure, _, task = place.partition("/")
        return self.result(method, ratio, measure, task, value, items=items, **cell)

    def config(self, **changes: Any) -> Config:
        measures = {
            "zeroshot": {"tasks": [*self.tasks]},
            "fidelity": {"corpus": "c4", "sequences": 4, "length": 8},
            "perplexity": {"corpus": "wiki", "sequences": 4, "length": 8},
            **self.more,
        }
        given: dict[str, Any] = {
            "models": self.models,
            "methods": {
                name: None if name in CRITERIA.sources() else {"criterion": "random", "label": readable(name)}
                for name in self.methods
            },
            "ratios": self.ratios,
            "draws": self.draws,
            "calibrations": {"c4": {"corpus": "c4", "sequences": SEQUENCES, "length": 8}},
            "measures": measures,
        }
        return Config(**given | changes)

    def write(self) -> "Study":
        for i, model in enumerate(self.models):
            self._measure(DENSE, 0.0, 0.0, model=model, draw=0)
            for j, method in enumerate(self.methods):
                for draw in self.draws:
                    rng = np.random.default_rng([i, j, draw])
                    damage = min(1.0, 0.1 + 0.08 * j + 0.02 * rng.normal())
                    cost = Value("seconds", 30.0 + 10 * j), Value("peak_memory_bytes", 3e9)
                    self.result(method, None, "cost", "", *cost, model=model, draw=draw)
                    self._neurons(method, i, 0.3 * j, model=model, draw=draw)
                    for ratio in self.ratios:
                        self._measure(method, ratio, min(1.0, 5 * ratio * damage), model=model, draw=draw)
        return self

    def _measure(self, method: str, ratio: float, damage: float, **cell: Any) -> None:
        n = 64
        for task, dense in self.tasks.items():
            chance = 0.5 if task in ("boolq", "piqa", "winogrande") else 0.25
            acc = round(n * (dense + (chance - dense) * min(1.0, 1.5 * damage))) / n
            se = (acc * (1 - acc) / (n - 1)) ** 0.5
            names = ["acc", "acc_norm"] if "arc" in task or task in ("openbookqa", "piqa") else ["acc"]
            names = ["pct_stereotype"] if "crows" in task else names
            self.result(method, ratio, "zeroshot", task, *(Value(m, acc, se, n) for m in names), **cell)
        perplexity = 18.0 * np.exp(6 * damage)
        text = Value("perplexity", perplexity, 0.03 * perplexity, 24)
        self.result(method, ratio, "perplexity", "wiki", text, **cell)
        size = Value("parameters", 1e8 * (1 - ratio)), Value("parameter_ratio", ratio)
        self.result(method, ratio, "size", "", *size, **cell)
        if method != DENSE:
            distances = [
                Value("js_distance", 0.2 + 0.5 * damage, 0.01, 16),
                Value("top15_jaccard", 0.6 - 0.5 * damage, 0.01, 16),
                Value("kl_divergence", 0.3 + 3 * damage, 0.01, 16),
            ]
            self.result(method, ratio, "fidelity", "c4", *distances, **cell)

    def _neurons(
        self,
        method: str,
        base: int,
        noise: float,
        model: str,
        draw: int,
        sequences: int | None = None,
        key: int | None = None,
        calibration: str = "c4",
    ) -> None:
        """Write log-normal scores; methods share a base, so that their choices overlap like real ones."""
        size, spreads = (self.layers, self.neurons), np.linspace(0.5, 1.2, self.layers)
        shared, own = (
            np.random.default_rng(seeds).normal(size=size)
            for seeds in ([base, 7], [len(method) if key is None else key, draw])
        )
        keep = {ratio: int(self.neurons * (1 - 1.6 * ratio)) for ratio in self.ratios}
        scores = [*np.exp(spreads[:, None] * (shared + noise * own))]
        self.scored(method, scores, keep, model, draw, sequences, calibration)

    def scored(
        self,
        method: str,
        scores: list[np.ndarray],
        keep: dict[float, int],
        model: str = "tiny-llama",
        draw: int = 0,
        sequences: int | None = None,
        calibration: str = "c4",
    ) -> None:
        calibrated = self.calibrated(method, sequences, calibration)
        cell = Cell("test", model, method, *calibrated, None, draw, Recovery.NONE)
        written = {paths.fill(paths.SCORES, cell): scores}
        for ratio, count in keep.items():
            kept = [np.sort(np.argsort(-x)[:count]).astype(np.int32) for x in scores]
            written[paths.fill(paths.PLAN, replace(cell, ratio=ratio))] = kept
        for place, layers in written.items():
            save_layers(self.folder / f"{place}.safetensors", *layers)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Study(tmp_path_factory.mktemp("whole")).write().collect()


def study_of_sizes(folder: Path, sizes: dict[int, int], outcomes: dict[str, dict[int, list[float]]]) -> Path:
    """Collect a study of sizes with these numbers of samples: by method, size and sample the mean JS distance.

    Documents differ by the same amounts in every sample.
    """
    calibrations = {"c4": {"corpus": "c4", "sequences": 64, "length": 8, "sizes": sizes}}
    fidelity = {"fidelity": {"corpus": "c4", "sequences": 4, "length": 8}}
    study = Study(folder, methods=[*outcomes], ratios=[0.2])
    config = study.config().model_dump(exclude_unset=True) | {
        "calibrations": calibrations,
        "measures": fidelity,
    }
    for name, by_size in outcomes.items():
        for size, means in by_size.items():
            for draw, mean in enumerate(means):
                items = mean + np.linspace(-0.1, 0.1, 10)
                at: dict[str, Any] = {"draw": draw, "sequences": size}
                study.outcomes(name, 0.2, "fidelity", items, metric="js_distance", **at)
                key = len(f"{name}_{size}")
                study._neurons(name, 0, 1 / size, model="tiny-llama", key=key, **at)
    return gather(Config(**config), folder)


# Label → how much farther every plan from that text is.
TEXTS = {"C4": 0.0, "Other text": 0.05}


def study_of_texts(folder: Path, methods: list[str], **changes: Any) -> Path:
    """Collect and analyse a study of two calibrations, in which each method is closer than the one before it.

    JS distances fall by 0.02 a method, on every text and draw alike; on the second text all are 0.05 higher, and
    methods are 0.01 closer to each other.
    """
    study = Study(folder, methods=methods, ratios=[0.2], draws=[0, 1, 2], tasks={"piqa": 0.6})
    texts = {label: label.lower().replace(" ", "_") for label in TEXTS}
    read = {
        name: {"corpus": name, "sequences": SEQUENCES, "length": 8, "label": label}
        for label, name in texts.items()
    }
    config = study.config(calibrations=read, **changes)
    study.outcomes(DENSE, 0.0, "perplexity", np.linspace(2.5, 3.5, 8), metric="nll")
    study.outcomes(DENSE, 0.0, "zeroshot/piqa", [1.0] * 6 + [0.0] * 2)
    for (place, method), (label, name), draw in product(enumerate(methods), texts.items(), study.draws):
        at: dict[str, Any] = {"calibration": name, "draw": draw}
        step = 0.02 if not TEXTS[label] else 0.01
        distance = 0.4 + TEXTS[label] - step * place + 0.01 * draw + np.linspace(-0.1, 0.1, 8)
        study.outcomes(method, 0.2, "fidelity", distance, metric="js_distance", **at)
        study.outcomes(method, 0.2, "perplexity", distance + np.linspace(2.5, 3.5, 8), metric="nll", **at)
        study.outcomes(method, 0.2, "zeroshot/piqa", [1.0] * (4 + draw % 2) + [0.0] * (4 - draw % 2), **at)
        study.result(method, None, "cost", "", Value("seconds", 30.0), **at)
        study._neurons(method, 0, 0.3 * place + TEXTS[label], model="tiny-llama", key=place, **at)
    gather(config, folder)
    analysed(folder)
    return folder
