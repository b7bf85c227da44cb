"""Scoring: decides which criteria share a pass over the blocks, and which masked student a pass runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hfprune.criteria import Criterion, GradientCriterion, StudentCriterion, SweepCriterion, WeightCriterion
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.errors import HfpruneError
from hfprune.models.spread import onloaded
from hfprune.models.units import Neurons, Units, units_of
from hfprune.scoring.folds import folds_of
from hfprune.scoring.scores import Scores
from hfprune.scoring.sweep import Sweep
from hfprune.scoring.tally import Curve
from hfprune.scoring.tapes import Lane
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Scored(NamedTuple):
    """The result of scoring by one criterion."""

    scores: Scores
    curve: Curve
    """One entry per mark: `sequences` and the values of `Tally.mark`; empty for weight criteria."""
    resampled: list[Scores]
    """The scores from each resampled calibration; none where the criterion has no such scores."""


def score(
    criteria: Mapping[str, Criterion],
    model: "PreTrainedModel",
    blocks: Tensor | None = None,
    units: Sequence[str] = ("neurons",),
    *,
    seed: int = 0,
    batch_tokens: int = 512,
    chunk: int = 0,
    until_agreement: float | None = None,
    state: Path | None = None,
    identity: str = "",
    documents: Sequence[int] | None = None,
    resamples: int = 0,
) -> dict[str, Scored]:
    """Score the units of a model by several criteria; each gets the same scores as it would alone.

    Activation criteria share one forward pass over the blocks. Gradient criteria share another one, with a
    backward pass for each; the cross-entropy that selects a student's masked neurons is part of it. Then all
    students with the same mask share a further pass.

    Args:
        criteria: criteria by any name.
        model: dense, frozen.
        blocks: calibration tokens [sequences, length]; weight criteria do not read them.
        units: the kinds of unit to score.
        seed: seed of random scores and drawn labels.
        batch_tokens: tokens of one forward pass; it changes scores by rounding only.
        chunk: positions whose logits are held at a time; 0 chooses by vocabulary size.
        until_agreement: a criterion stops at the first mark where two disjoint halves of its sequences agree
            on this share of the kept units.
        state: folder where unfinished passes are saved regularly, and from which they resume.
        identity: identifies model, blocks and settings; a saved pass of another identity is not used.
        documents: the document of each sequence, if known; the sequences of one stay in one fold.
        resamples: number of resampled calibrations (`hfprune.scoring.folds`) to score as well; it costs no
            further pass. A weight criterion is scored with other random numbers instead.

    Raises:
        HfpruneError: a criterion cannot score the units, or the model does not have them; the blocks are
            missing or from another model; or scores are not finite.
    """
    for name, criterion in criteria.items():
        if unknown := [kind for kind in units if kind not in criterion.scorable()]:
            raise HfpruneError(
                f"criterion {name!r} cannot score {unknown[0]}, only {' and '.join(criterion.scorable())}"
            )
        if criterion.needs != "weights" and blocks is None:
            raise HfpruneError(f"criterion {name!r} needs calibration blocks")
    lanes: dict[str, Lane] = {}
    if blocks is not None:
        fold_of = folds_of(len(blocks), documents)
        sweep = Sweep(model, blocks, fold_of, seed, batch_tokens, chunk, until_agreement, state, identity)
        lanes = _activation_lanes(criteria, sweep, units) | _gradient_lanes(criteria, sweep, units)
    found: dict[str, Scored] = {}
    for name, criterion in criteria.items():
        if isinstance(criterion, WeightCriterion):
            scores, *others = (
                _weight_scores(
                    criterion, units_of(model, units), derive_seed(seed, "resample", n) if n else seed
                )
                for n in range(resamples + 1)
            )
            curve: Curve = []
        else:
            lane = lanes[name]
            scores, curve = lane.tally.scores(), lane.curve
            others = lane.tally.resampled(seed, resamples) if criterion.resampled else []
        # The layers of a model may be on several devices.
        scores, *others = (
            {place: x.to(model.device) for place, x in each.items()} for each in (scores, *others)
        )
        found[name] = Scored(scores, curve, others)
    return found


@torch.no_grad()
def _weight_scores(criterion: WeightCriterion, units: Mapping[str, Units], seed: int) -> Scores:
    found = {}
    for place, item in units.items():
        # The label of neurons is the number of their layer; it must not change, or a seed gives other scores.
        label = int(place.partition(".")[2]) if isinstance(item, Neurons) else place
        generator = torch.Generator().manual_seed(derive_seed(seed, "criterion", label))
        with onloaded(item.linears):
            found[place] = criterion.layer_scores(item, generator).double()
    return found


def _activation_lanes(
    criteria: Mapping[str, Criterion], sweep: Sweep, units: Sequence[str]
) -> dict[str, Lane]:
    lanes = {
        name: sweep.lane(criterion, units)
        for name, criterion in criteria.items()
        if isinstance(criterion, SweepCriterion) and criterion.needs == "activations"
    }
    if lanes:
        sweep.activations([*lanes.values()])
    return lanes


def _gradient_lanes(criteria: Mapping[str, Criterion], sweep: Sweep, units: Sequence[str]) -> dict[str, Lane]:
    gradients = {name: item for name, item in criteria.items() if isinstance(item, GradientCriterion)}
    students = {name: item for name, item in gradients.items() if isinstance(item, StudentCriterion)}
    lanes = {name: sweep.lane(item, units) for name, item in gradients.items() if name not in students}
    first = [*lanes.values()]
    starts = {name: _start(item, first, sweep) for name, item in students.items()}
    if first:
        sweep.gradients(first)

    passes: dict[tuple[float, str], list[str]] = {}
    for name, item in students.items():
        passes.setdefault((item.warm_start, item.aggregation), []).append(name)
        lanes[name] = sweep.lane(item, units)
    for (fraction, aggregation), names in passes.items():
        lowest = starts[names[0]].tally.scores()
        kept = {place: _all_but_lowest(scores, fraction) for place, scores in lowest.items()}
        sweep.gradients([lanes[name] for name in names], f"student-{aggregation}-{fraction}", kept)
    return lanes


def _start(student: StudentCriterion, lanes: list[Lane], sweep: Sweep) -> Lane:
    """Return the lane whose scores select the neurons that `student` masks; a new one is added to `lanes`.

    Only neurons are masked: 2.5 % of a few key-value groups or layers would be none, or one would be too
    much.
    """
    criterion, kinds = CrossEntropy(aggregation=student.aggregation), ("neurons",)
    for lane in lanes:
        if lane.criterion == criterion and lane.kinds == kinds:
            return lane
    lanes.append(sweep.lane(criterion, kinds))
    return lanes[-1]


def _all_but_lowest(scores: Tensor, fraction: float) -> Tensor:
    """Return a mask [neurons] that is false for the `fraction` with the lowest scores, at least for one."""
    lost = max(1, round(fraction * len(scores)))
    kept = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    kept[scores.argsort(descending=True, stable=True)[len(scores) - lost :]] = False
    return kept
