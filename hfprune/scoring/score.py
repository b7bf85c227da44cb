"""Scoring by several criteria: their passes over the blocks, and the scores that come of them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hfprune.calibration.folds import folds_of
from hfprune.criteria import Criterion, SweepCriterion, WeightCriterion, check_scorable
from hfprune.errors import HfpruneError
from hfprune.models.units import Units, gated_mlps, units_of
from hfprune.plans.allocation import keep_highest, kept_mask
from hfprune.scoring.passes import GradientPass, gradient_passes, layer_parts
from hfprune.scoring.score_files import Scores
from hfprune.scoring.scorer import Curve, Scorer
from hfprune.scoring.sweep import Sweep
from hfprune.seeds import derive_seed
from hfprune.settings.units import layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Scored(NamedTuple):
    scores: Scores
    curve: Curve
    """One entry per mark (`Scorer.mark`); empty for weight criteria."""
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
    state: Path | None = None,
    identity: str = "",
    documents: Sequence[int] | None = None,
    resamples: int = 0,
    sums_room: float = math.inf,
) -> dict[str, Scored]:
    """Score the units of a model by several criteria; each gets the same scores as it would alone.

    Activation criteria share one forward pass over the blocks, gradient criteria those of
    `hfprune.scoring.passes.gradient_passes`.

    Args:
        criteria: criteria by any name.
        model: dense, frozen.
        blocks: calibration tokens [sequences, length]; weight criteria do not read them.
        units: the kinds of unit to score.
        seed: seed of random scores and drawn labels.
        batch_tokens: tokens of one forward pass; it changes scores by rounding only.
        state: folder where unfinished passes are saved regularly, and from which they resume.
        identity: identifies model, blocks and settings; a saved pass of another identity is not used.
        documents: the document of each sequence, if known; the sequences of one stay in one fold.
        sums_room: bytes that a criterion's sums may take where they are as large as weights; with less, its layers
            are read in several passes.
        resamples: number of resampled calibrations (`hfprune.calibration.folds`) to score as well; it costs no
            further pass. A weight criterion is scored with other random numbers instead.

    Raises:
        HfpruneError: a criterion cannot score the units, or the model does not have them; the blocks are
            missing or from another model; or scores are not finite.
    """
    for name, criterion in criteria.items():
        check_scorable(criterion, units, f"criterion {name!r}")
        if criterion.needs != "weights" and blocks is None:
            raise HfpruneError(f"criterion {name!r} needs calibration blocks")
    found: dict[str, Scored] = {}
    for name, criterion in criteria.items():
        if isinstance(criterion, WeightCriterion):
            seeds = [seed, *(derive_seed(seed, "resample", number) for number in range(1, resamples + 1))]
            first, *others = (_weight_scores(criterion, units_of(model, units), each) for each in seeds)
            found[name] = Scored(first, [], others)
    if blocks is not None:
        fold_of = folds_of(len(blocks), documents)
        sweep = Sweep(model, blocks, fold_of, seed, batch_tokens, state, identity)
        scorers = {
            name: Scorer(criterion, units_of(model, units), fold_of)
            for name, criterion in criteria.items()
            if isinstance(criterion, SweepCriterion) and criterion.needs == "activations"
        }
        if scorers:
            sweep.activations([*scorers.values()])
        found |= {name: _scored(scorer, seed, resamples) for name, scorer in scorers.items()}
        for each in gradient_passes(criteria, units):
            found |= _run(each, sweep, found, sums_room, resamples)
    return {name: _on_one_device(found[name], model.device) for name in criteria}


@torch.no_grad()
def _weight_scores(criterion: WeightCriterion, units: Mapping[str, Units], seed: int) -> Scores:
    found = {}
    for key, item in units.items():
        # The label of neurons is the number of their layer; it must not change, or a seed gives other scores.
        label = layer_of(key) if item.kind == "neurons" else key
        generator = torch.Generator().manual_seed(derive_seed(seed, "criterion", label))
        found[key] = criterion.layer_scores(item, generator).double()
    return found


def _run(
    one: GradientPass, sweep: Sweep, found: Mapping[str, Scored], room: float, resamples: int
) -> dict[str, Scored]:
    """Run a pass, or one for each part of the layers whose sums fit into `room` bytes; `found` has the starts."""
    kept = {}
    for key, scores in found[one.start].scores.items() if one.start else ():
        lost = max(1, round(one.warm_start * len(scores)))
        kept[key] = kept_mask(keep_highest(scores, len(scores) - lost), len(scores))
    first, scored = next(iter(one.criteria.values()))  # the only one, if its sums are large
    mlps = gated_mlps(sweep.model)
    of_first = [unit for unit in units_of(sweep.model, scored).values() if unit.name.endswith(".0")]
    weights = sum(linear.weight.numel() for unit in of_first for linear in unit.linears)
    parts = []
    for layers in layer_parts(first, len(mlps), weights, room):
        scorers = {}
        for name, (criterion, kinds) in one.criteria.items():
            units = units_of(sweep.model, kinds)
            if len(layers) < len(mlps):
                units = {key: unit for key, unit in units.items() if layer_of(key) in layers}
            scorers[name] = Scorer(criterion, units, sweep.fold_of)
        whole = len(layers) == len(mlps)
        sweep.gradients(
            [*scorers.values()], one.name if whole else f"{one.name}-{layers.start}", kept or None
        )
        parts.append({name: _scored(scorer, sweep.seed, resamples) for name, scorer in scorers.items()})
        del scorers  # and its sums, before the next part has its own
    return {name: _joined([part[name] for part in parts]) for name in one.criteria}


def _scored(scorer: Scorer, seed: int, resamples: int) -> Scored:
    return Scored(scorer.scores(), scorer.curve, scorer.resampled(seed, resamples))


def _joined(parts: Sequence[Scored]) -> Scored:
    if len(parts) == 1:
        return parts[0]
    counts = [sum(map(len, part.scores.values())) for part in parts]
    curve: Curve = []
    for marks in zip(*(part.curve for part in parts), strict=True):
        agreeing = sum(count * mark["agreement"] for count, mark in zip(counts, marks, strict=True))
        curve.append(marks[0] | {"agreement": agreeing / sum(counts)})
    return Scored({key: x for part in parts for key, x in part.scores.items()}, curve, [])


def _on_one_device(scored: Scored, device: torch.device) -> Scored:
    """Bring all scores to one device, since the layers of a model may be on several."""
    scores, *others = (
        {key: x.to(device) for key, x in each.items()} for each in (scored.scores, *scored.resampled)
    )
    return Scored(scores, scored.curve, others)
