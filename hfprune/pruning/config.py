"""Flags of `hfprune prune`."""

import re
import shlex
from math import gcd
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue, PositiveInt, model_validator

from hfprune.assets.places import resources_of
from hfprune.assets.spelling import FORMS
from hfprune.errors import nearest
from hfprune.pruning.amounts import Auto, Count, Size, loss
from hfprune.settings import Dtype, Parted, Placement, Removed, plain
from hfprune.settings.allocation import Allocation
from hfprune.stages import Alone
from hfprune.stages.fields import CatalogueFile, Resources, Seed
from hfprune.study.method import Units

RecipeName = Literal["best", "paper"]
# Kinds of text that `--mix` names, and the corpus of each: what no comparison reads.
KINDS = {
    "c4": "c4-calibration",
    "code": "code-sample",
    "math": "math-sample",
    "stories": "stories-calibration",
    "technical": "technical-sample",
    "wikipedia": "wikipedia-calibration",
}
LIMITS = ("max_loss", "speedup", "params", "size")
_NO_AMOUNT = "how much to remove is missing: give --ratio 0.2 or another number, or a limit, as"


def _mix(given: object) -> dict[str, int]:
    """Return the weight of each kind of text, reduced and in one order, so that a mix has one name."""
    pairs = given.items() if isinstance(given, dict) else _pairs(str(given))
    weights: dict[str, int] = {}
    for kind, weight in pairs:
        if kind not in KINDS:
            raise ValueError(f"unknown kind of text {kind!r}{nearest(kind, KINDS)}")
        if kind in weights:
            raise ValueError(f"{kind} is there twice")
        if not re.fullmatch(r"[1-9]\d*", str(weight)):
            raise ValueError(
                f"the weight of {kind} must be a whole number above 0, as {kind}=2, not {weight!r}"
            )
        weights[kind] = int(weight)
    if len(weights) < 2:
        alone = "".join(f"; one alone is --text {KINDS[kind]}" for kind in weights)
        raise ValueError(f"must name two kinds or more, as c4=2,code=1{alone}")
    return {kind: weights[kind] // gcd(*weights.values()) for kind in KINDS if kind in weights}


def _pairs(given: str) -> list[tuple[str, str]]:
    words = [word.strip().partition("=") for word in given.split(",")]
    return [(kind.strip(), weight.strip()) for kind, _, weight in words if kind]


class Pruning(Placement):
    """All that `hfprune prune` takes: a model, how far and how to prune it, and what to compare."""

    model: str = Field(description=f"the model: a name in config/assets.yaml, {FORMS['models'].ways()}")
    ratio: Annotated[Removed | None, Auto] = Field(
        default=None,
        description="share of all parameters to remove, such as 20% or 0.2; auto: as the next flags say",
    )
    max_loss: Annotated[float, BeforeValidator(loss)] | None = Field(
        default=None,
        description="the largest of several cuts whose rise of perplexity on held-out text, before any training, "
        "has a 95% interval that ends below this, such as 20%",
    )
    speedup: float | None = Field(
        default=None,
        gt=1,
        allow_inf_nan=False,
        description="the smallest of several cuts that is measured to be more than so many times as fast as the "
        "dense model, such as 1.2, in prefill and in decoding; with --max-loss, one that meets both",
    )
    params: Count | None = Field(
        default=None, description="the largest model with at most this many parameters, such as 110M"
    )
    size: Size | None = Field(
        default=None, description="the largest model with at most this size of weights, such as 450MB"
    )
    keep: Annotated[list[str], Parted] = Field(
        default=[],
        description="with --max-loss: capabilities whose bits per byte of right answers may rise by no more than "
        "it allows, such as code,reading; known: knowledge, reading, mathematics, code, language, science, "
        "common_sense",
    )
    out: Path = Field(description="folder to write: model, report.html and work")
    recipe: RecipeName = Field(
        default="best",
        description="defaults of the flags below. best: Fisher's scores ranked over all layers (within "
        "each layer with --plain or --align), then least-squares reconstruction; paper: "
        "entropy, layer by layer",
    )
    criterion: str | None = Field(
        default=None,
        description="a criterion that `hfprune methods` lists; any but the recipe's ranks within each layer",
    )
    options: dict[str, JsonValue] | None = Field(
        default=None, description="options of the criterion as JSON (the recipe's)"
    )
    units: Units = Field(default={"neurons": None})
    allocation: Allocation | None = Field(
        default=None,
        description="uniform, global or joint; or JSON, with standardize, align and spare (the recipe's)",
    )
    align: PositiveInt | None = Field(
        default=None,
        description="make widths multiples of this at the same size, such as 32 for quantisers, which "
        "also need --plain",
    )
    plain: bool = Field(
        default=False,
        description="for other engines (docs/exports.md): rank within each layer, unless --allocation "
        "says otherwise, and pad layers of unequal widths with zeros",
    )
    recover: Annotated[str | None, Alone("coqa")] = Field(
        default=None,
        description="train a LoRA adapter for a few steps, and merge it. Without a value: on coqa; or on "
        f"your own pairs: a name in config/assets.yaml, {FORMS['instructions'].ways()}",
    )
    linear: bool | None = Field(
        default=None,
        description="least-squares reconstruction of the weights that read the kept units (docs/recovery.md; "
        "the recipe's)",
    )
    compare: bool = Field(
        default=True,
        description="measure the pruned model beside the dense one",
    )
    quick: bool = Field(default=False, description="compare on text only, without capabilities and speed")
    eval_text: str | None = Field(
        default=None,
        description="compare on this text too, which then decides whether a step is kept: a name in "
        f"config/assets.yaml, {FORMS['corpora'].ways()}",
    )
    tasks: Annotated[list[str], Parted] = Field(
        default=[],
        description="compare on 50 questions of each of these lm-eval tasks too, with its own number of examples, "
        "such as arc_easy,gsm8k_cot",
    )
    beside: Annotated[list[str], Parted] = Field(
        default=[],
        description="compare with rivals too: quantised (the dense model in 8 and 4 bits, the pruned one in 8), "
        "smaller (the next smaller model of its series in the catalogue), or smaller=MODEL",
    )
    batch: PositiveInt = Field(default=1, description="texts decoded at a time where speed is measured")
    keep_recovery: bool = Field(
        default=False,
        description="export the last step even if it raised perplexity or cost a capability",
    )
    text: str | None = Field(
        default=None,
        description="text to calibrate on: general (the default), a mix of C4, code and technical text; code, the "
        "same with more code; c4-sample (the default of --recipe paper), or another name in config/assets.yaml, "
        f"{FORMS['corpora'].ways()}",
    )
    mix: Annotated[dict[str, int], BeforeValidator(_mix)] | None = Field(
        default=None,
        description="kinds of text to calibrate on, and their weights in characters, e.g. c4=2,code=2,math=1: "
        f"{', '.join(KINDS)}",
    )
    sequences: PositiveInt | None = Field(
        default=None,
        description="blocks of the text to score on and to reconstruct weights from, which reads more if "
        "it must; null: 32 to score and 64 to reconstruct",
    )
    length: int = Field(default=256, gt=1, description="tokens per block")
    dtype: Literal[Dtype, "auto"] = Field(
        default="auto",
        description="precision to compute in. auto: bfloat16 on a GPU, or if a test of one layer finds "
        "it at least 1.2 times as fast, else float32; the export then has the precision of "
        "the dense model",
    )
    seed: Seed = 0
    catalogue: CatalogueFile = Path("config/assets.yaml")
    resources: Resources = Field(default_factory=resources_of)

    @model_validator(mode="after")
    def _one_limit(self) -> "Pruning":
        given = [name for name in ("ratio", *LIMITS) if getattr(self, name) is not None]
        flags = [f"--{name.replace('_', '-')}" for name in given]
        if self.ratio is not None and len(given) > 1:
            limits = " and ".join(flags[1:])
            raise ValueError(
                f"--ratio {self.ratio:g} leaves {limits} nothing to choose: give --ratio auto with {limits}, or "
                f"--ratio {self.ratio:g} alone"
            )
        if len(flags) > 1 and given != ["max_loss", "speedup"]:
            raise ValueError(f"{' and '.join(flags)}: these exclude each other; keep one")
        if not flags:
            auto = (
                "--ratio auto: the limit is missing: add" if "ratio" in self.model_fields_set else _NO_AMOUNT
            )
            raise ValueError(f"{auto} --max-loss 20%, --speedup 1.2, --params 110M or --size 450MB")
        if self.keep and not self.max_loss:
            raise ValueError("--keep: how much these may lose is missing: add --max-loss 20%")
        if self.text and self.mix:
            raise ValueError("--text and --mix: each alone says what to calibrate on; keep one of them")
        for word in self.beside:
            if word not in ("quantised", "smaller") and not word.startswith("smaller="):
                raise ValueError(f"--beside: unknown rival {word!r}{nearest(word, ['quantised', 'smaller'])}")
        if (self.eval_text or self.tasks or self.beside) and not self.compare:
            raise ValueError(
                "--eval-text, --tasks and --beside are for the comparison, which --no-compare leaves out"
            )
        if self.batch > 1 and not self.speedup and (self.quick or not self.compare):
            raise ValueError("--batch is for speed, which --quick and --no-compare leave out")
        if self.recover and self.device_map:
            raise ValueError("--recover trains on one device; remove it, or --device-map")
        more = self.tasks or self.keep or self.beside or self.speedup or (self.compare and not self.quick)
        if self.device_map == "disk" and more:
            raise ValueError(
                "--device-map disk: all but text would read the model thousands of times: "
                "give --quick (text only) or --no-compare, and none of --tasks, --keep, --beside and --speedup"
            )
        return self

    def again(self) -> str:
        """Return the command that makes the model again elsewhere: files and folders by their names alone."""
        here = {"out", "quick", "tasks", "beside", "batch", "keep", "resources", "catalogue", "device_map"}
        words = ["hfprune", "prune"]
        for name, value in self.model_dump(
            mode="json", exclude={*here, *LIMITS}, exclude_defaults=True
        ).items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                local = (
                    name in ("model", "text", "eval_text", "recover") and Path(value).expanduser().exists()
                )
                text = Path(value).resolve().name if local else value
                text = (
                    ",".join(f"{kind}={weight}" for kind, weight in value.items()) if name == "mix" else text
                )
                words += [f"--{flag}", plain(text)]
        return shlex.join([*words, "--out", "pruned"])
