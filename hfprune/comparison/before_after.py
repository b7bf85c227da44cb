"""A pruned model beside its dense model, after each step: what was measured, and the comparison."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from hfprune.cells import DENSE, Result
from hfprune.cells.items import token_items
from hfprune.cells.recovery import Recovery
from hfprune.results.effect_rows import EffectRow

# The compared models, by the last step that was taken.
STEPS = PRUNED, RECONSTRUCTED, RECOVERED = "pruned", "reconstructed", "recovered"
# Prefixes of the names of measures that read the user's own text, and that judge by the user's limit.
OWN, ASKED = "own_", "asked_"
# The measures, by their classes, with labels of their own; all others read texts.
CAPABILITY, TASK = "gold_bpb", "tasks"
# Numbers that the suite counts itself: over no documents, or over those of the sample.
SIZE, SPEED, LEARNING, REPEATS = "size", "latency", "recovery", "sample"
STORAGE = "storage"


@dataclass(frozen=True)
class Measured:
    """The results of one measure on one model."""

    values: Mapping[str, float]
    n: int
    items: pd.DataFrame
    machines: Sequence[str] = ()
    """The GPUs, or else the processor, on which it was measured."""
    prompt_tokens: int = 0
    """The number of tokens of a timed prefill."""
    held_out: Mapping[int, pd.DataFrame] = field(default_factory=dict)
    """The losses of held-out tokens by step of a training, the first before it."""


# Step, or `DENSE` → measure and task → results.
Sides = dict[str, dict[tuple[str, str], Measured]]


def step_of(recovery: Recovery) -> str:
    """Return the last step of a recovery; that of `none` is pruning."""
    if recovery.trains:
        return RECOVERED
    return RECONSTRUCTED if recovery.reconstructs else PRUNED


def spelt(task: str) -> str:
    """Return the name of a text as the user knows it, without the hash under which a file is kept."""
    return re.sub(r"-[0-9a-f]{12}$", "", task)


def class_of(measure: str) -> str:
    """Return the name of a measure's class, without the prefixes of its name."""
    return measure.removeprefix(OWN).removeprefix(ASKED)


def read_sides(results: Mapping[Path, Result]) -> Sides:
    """Return results by step, given the results by their files; outcomes of items lie beside these."""
    sides: Sides = {step: {} for step in (DENSE, *STEPS)}
    for path, result in results.items():
        cell, file, provenance = result.cell, path.with_suffix(".parquet"), result.provenance
        is_dense = (cell.method, cell.recovery) == (DENSE, Recovery.NONE)
        step = DENSE if is_dense else step_of(cell.recovery)
        hardware, tokens = provenance.get("hardware"), provenance.get("held_out_tokens")
        sides[step][result.measure, result.task] = Measured(
            {value.metric: value.value for value in result.values},
            max((value.n or 0 for value in result.values), default=0),
            pd.read_parquet(file) if file.is_file() else pd.DataFrame(),
            (hardware["cuda"] or [hardware["processor"]]) if hardware else [""],
            provenance["settings"].get("prompt_tokens", 0),
            {
                point["step"]: token_items(point["losses"], tokens)
                for point in provenance.get("curve", ())
                if tokens
            },
        )
    return {step: side for step, side in sides.items() if side}


def timed_on(sides: Sides) -> str:
    """Return the GPUs, or else the processor, on which times were taken, perhaps by an earlier call."""
    return ", ".join(dict.fromkeys(name for side in timed(sides) for name in side.machines))


def timed(sides: Sides) -> list[Measured]:
    """Return the measured times of all steps."""
    return [side for step in sides.values() for (measure, _), side in step.items() if measure == SPEED]


LEGEND = (
    "Intervals are over n documents or questions, in pairs with the dense model on the same ones; they hold for "
    "this plan, not for another calibration. A star (*) is a change of a capability or task that holds after "
    "Holm's correction for their number. Perplexity (lower is better) is the number of tokens between which the "
    "model wavers. JS distance (lower is closer to the dense model) is the root of the Jensen-Shannon divergence "
    "between next-token distributions. Entropy says how unsure the model is of the next token: what is near the "
    "dense model's is better, neither lower nor higher. Bits per byte (lower is better) are what right answers "
    "take to predict. Repeated 4-grams (lower is better) are runs of four tokens that stood in the text before."
)


@dataclass(frozen=True)
class Sample:
    """A prompt, and how the dense model (`before`) and the exported one (`after`) continue it."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True)
class BeforeAfter:
    """The comparison of a pruned model with its dense model."""

    effects: Sequence[EffectRow]
    """The effects of the model after each step (`method`) against the dense one."""
    exported: str
    """The step whose model is exported."""
    conclusions: Sequence[str] = ()
    """Sentences on what was lost; empty if nothing was measured."""
    sample: Sample | None = None
    timed_on: str = ""
    """The GPUs, or else the processor, on which times were taken; "" if none were."""
    rivals: Sequence[Sequence[str]] = ()
    """Headings, and a line for the dense model, the exported one and each rival; empty without rivals."""

    @property
    def rows(self) -> list[EffectRow]:
        """The rows of the exported model, and that of the loss in training."""
        return [row for row in self.effects if row.method == self.exported or row.against != DENSE]

    def headers(self) -> list[str]:
        """Return the headings of the columns of `lines`."""
        return ["", DENSE, *self._steps(), "n", f"change, {self.exported} (95 % interval)"]

    def lines(self) -> list[list[str]]:
        """Return one line per row as text: its label, the numbers of the dense model and each step, n, change."""
        numbers: dict[tuple[str, ...], str] = {}
        for row in self.effects:
            _, base, own, *_ = row.words()
            numbers |= {(*_about(row), row.against): base, (*_about(row), row.method): own}
        lines = []
        for row in self.rows:
            label, *_, n, change = row.words()
            by_side = [numbers.get((*_about(row), side), "") for side in (DENSE, *self._steps())]
            lines.append([label, *by_side, n, change])
        return lines

    def _steps(self) -> list[str]:
        return [step for step in STEPS if step in {row.method for row in self.effects}]

    def sampled(self) -> list[str]:
        """Return one line per side with the prompt and its continuation; empty if there is no sample."""
        if not self.sample:
            return []
        prompt, before, after = self.sample.prompt, self.sample.before, self.sample.after
        return [f"before: {prompt + before!r}", f" after: {prompt + after!r}"]


def _about(row: EffectRow) -> tuple[str, str, str]:
    return row.measure, row.metric, row.task
