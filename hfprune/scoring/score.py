"""Scoring by several criteria: their passes over the blocks, and the resulting scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from hfprune.calibration.folds import FOLDS, folds_of, resample
from hfprune.calibration.sizes import most_open
from hfprune.criteria import (
    Criterion,
    SearchCriterion,
    SweepCriterion,
    WeightCriterion,
    check_scorable,
    distinct,
)
from hfprune.errors import HfpruneError
from hfprune.models.checks import check_groups
from hfprune.models.units import Units, gated_mlps, units_of
from hfprune.plans.allocation import keep_highest, kept_mask
from hfprune.scoring.passes import GradientPass, gradient_passes, layer_parts
from hfprune.scoring.reading import Sweep
from hfprune.scoring.samples import Curve, Mark, Sample, Scorer
from hfprune.scoring.score_files import Scores
from hfprune.seeds import derive_seed
from hfprune.settings.units import layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Scored(NamedTuple):
    """The scores of one criterion from a sample, and how well its sequences determine them."""

    scores: Scores
    curve: Curve
    """Marks in order; empty for weight criteria and searches."""
    resampled: list[Scores]
    """The scores from each resampled calibration; none where the criterion has no such scores."""


# Range of a sample's blocks → its scores.
BySample = dict[range, Scored]


def score(
    criteria: Mapping[str, Criterion],
    model: "PreTrainedModel",
    blocks: Tensor | None = None,
    units: Sequence[str] = ("neurons",),
    *,
    resamples: int = 0,
    **settings: Any,
) -> dict[str, Scored]:
    """Score the units of a model by several criteria from all blocks, and from `resamples` resamples of them.

    See `score_samples` for the other settings. Resamples of a weight criterion differ in their random numbers.
    """
    whole = range(0 if blocks is None else len(blocks))
    samples = {name: [whole] for name in criteria}
    scored = score_samples(criteria, model, blocks, units, samples, resamples={whole: resamples}, **settings)
    return {name: by_sample[whole] for name, by_sample in scored.items()}


def score_samples(
    criteria: Mapping[str, Criterion],
    model: "PreTrainedModel",
    blocks: Tensor | None,
    units: Sequence[str],
    samples: Mapping[str, Sequence[range]],
    *,
    resamples: Mapping[range, int] | None = None,
    seed: int = 0,
    batch_tokens: int = 512,
    state: Path | None = None,
    identity: str = "",
    documents: Sequence[int] | None = None,
    sums_room: float = math.inf,
) -> dict[str, BySample]:
    """Score the units of a model by several criteria, each from several samples of the blocks.

    Every criterion gets the scores that it would get alone, and every sample those of a calibration of its own.
    Activation criteria share one forward pass over the blocks, gradient criteria the passes of
    `hfprune.scoring.passes.gradient_passes`. One pass serves all samples, but each sample has its own students and
    searches.

    Args:
        criteria: criteria by any name; equal ones are scored once.
        model: dense, frozen.
        blocks: calibration tokens [sequences, length]; weight criteria do not read them.
        units: the kinds of unit to score.
        samples: name of a criterion → sequences of each of its samples; samples may overlap.
        resamples: sample → number of resampled calibrations (`hfprune.calibration.folds`) to score as well,
            without a further pass; by default none.
        seed: seed of random scores and drawn labels.
        batch_tokens: tokens of one forward pass; it changes scores by rounding only.
        state: folder where unfinished passes are saved regularly, and from which they resume.
        identity: identifies model, blocks and settings; a saved pass of another identity is not used.
        documents: the document of each sequence, if known; sequences of one document stay in one fold.
        sums_room: bytes that sums as large as weights may take; larger sums take several passes over parts of the
            layers.

    Raises:
        HfpruneError: a criterion cannot score the units, or the model does not have them; the blocks are
            missing or from another model; or scores are not finite.
    """
    for name, criterion in criteria.items():
        check_scorable(criterion, units, f"criterion {name!r}")
        if criterion.needs != "weights" and blocks is None:
            raise HfpruneError(f"criterion {name!r} needs calibration blocks")
    if "key_value_groups" in units:
        check_groups(model)
    firsts, counts = distinct(criteria), resamples or {}
    chosen = {name: criteria[name] for name in firsts.values()}
    read: dict[str, list[range]] = {}
    for name, first in firsts.items():
        read[first] = [*dict.fromkeys([*read.get(first, []), *samples[name]])]
    scored: dict[str, BySample] = {}
    for name, criterion in chosen.items():
        if isinstance(criterion, WeightCriterion):
            shared = criterion, units_of(model, units), seed
            scored[name] = {span: _by_weights(*shared, counts.get(span, 0)) for span in read[name]}
    if blocks is not None:
        sweep = Sweep(model, blocks, seed, batch_tokens, state, identity)
        passes, planned = _Passes(sweep, documents, counts, sums_room), gradient_passes(chosen, units)
        for gradients in planned:  # the criterion that chooses a student reads the student's samples
            for name in gradients.criteria if gradients.start else ():
                read[gradients.start] = [*dict.fromkeys([*read.get(gradients.start, []), *read[name]])]
        scored |= passes.activations(chosen, units, read)
        scored |= passes.searches(chosen, units, read)
        for gradients in planned:
            if gradients.start:
                scored |= passes.students(gradients, scored, read)
            else:
                scored |= passes.gradients(gradients, read)
    return {
        name: {numbers: _on_one_device(scored[first][numbers], model.device) for numbers in samples[name]}
        for name, first in firsts.items()
    }


def _by_weights(criterion: WeightCriterion, units: Mapping[str, Units], seed: int, resamples: int) -> Scored:
    seeds = [seed, *(derive_seed(seed, "resample", number) for number in range(1, resamples + 1))]
    first, *others = (_weight_scores(criterion, units, own) for own in seeds)
    return Scored(first, [], others)


@torch.no_grad()
def _weight_scores(criterion: WeightCriterion, units: Mapping[str, Units], seed: int) -> Scores:
    scores = {}
    for key, item in units.items():
        # The label of neurons is the number of their layer; it must not change, or a seed gives other scores.
        label = layer_of(key) if item.kind == "neurons" else key
        generator = torch.Generator().manual_seed(derive_seed(seed, "criterion", label))
        scores[key] = criterion.layer_scores(item, generator).double()
    return scores


@dataclass(frozen=True)
class _Passes:
    """The passes of a scoring; `read` maps the name of a criterion to its samples."""

    sweep: Sweep
    documents: Sequence[int] | None
    resamples: Mapping[range, int]
    room: float
    """Bytes for sums that are as large as weights."""

    def activations(
        self, criteria: Mapping[str, Criterion], units: Sequence[str], read: Mapping[str, Sequence[range]]
    ) -> dict[str, BySample]:
        scorers = {
            name: self._scorer(criterion, units_of(self.sweep.model, units), read[name])
            for name, criterion in criteria.items()
            if isinstance(criterion, SweepCriterion) and criterion.needs == "activations"
        }
        if scorers:
            self._as_far_as_read(scorers).activations([*scorers.values()])
        return {name: _scored(scorer) for name, scorer in scorers.items()}

    def searches(
        self, criteria: Mapping[str, Criterion], units: Sequence[str], read: Mapping[str, Sequence[range]]
    ) -> dict[str, BySample]:
        """Search anew for each sample, since later removals depend on earlier ones."""
        return {
            name: {numbers: self._search(name, criterion, units, numbers) for numbers in read[name]}
            for name, criterion in criteria.items()
            if isinstance(criterion, SearchCriterion)
        }

    def _search(self, name: str, criterion: SearchCriterion, units: Sequence[str], numbers: range) -> Scored:
        sweep = self._alone(numbers).sweep
        scores = sweep.search(criterion, units_of(sweep.model, units), self._named(name, numbers))
        return Scored(scores, [], [])

    def gradients(
        self,
        shared: GradientPass,
        read: Mapping[str, Sequence[range]],
        kept: Mapping[str, Tensor] | None = None,
        title: str = "",
    ) -> dict[str, BySample]:
        """Run one pass, or one per part of the layers if the sums do not fit into the room together."""
        model, title = self.sweep.model, title or shared.name
        first, scored = next(iter(shared.criteria.values()))  # the only one, if its sums are large
        mlps, overlapping = gated_mlps(model), max(most_open(read[name]) for name in shared.criteria)
        in_first = [unit for unit in units_of(model, scored).values() if unit.name.endswith(".0")]
        weights = overlapping * sum(linear.weight.numel() for unit in in_first for linear in unit.linears)
        parts = []
        for layers in layer_parts(first, len(mlps), weights, self.room):
            scorers = {}
            for name, (criterion, kinds) in shared.criteria.items():
                units = units_of(model, kinds)
                if len(layers) < len(mlps):
                    units = {key: unit for key, unit in units.items() if layer_of(key) in layers}
                scorers[name] = self._scorer(criterion, units, read[name])
            suffix = "" if len(layers) == len(mlps) else f"-{layers.start}"
            self._as_far_as_read(scorers).gradients([*scorers.values()], title + suffix, kept)
            parts.append({name: _scored(scorer) for name, scorer in scorers.items()})
            del scorers  # and its sums, before the next part has its own
        return {
            name: {numbers: _joined([part[name][numbers] for part in parts]) for numbers in read[name]}
            for name in shared.criteria
        }

    def students(
        self, shared: GradientPass, before: Mapping[str, BySample], read: Mapping[str, Sequence[range]]
    ) -> dict[str, BySample]:
        """Run a pass for each sample, whose own scores choose the neurons that its student lacks."""
        scored: dict[str, BySample] = {name: {} for name in shared.criteria}
        for numbers in dict.fromkeys(numbers for name in shared.criteria for numbers in read[name]):
            kept = {}
            for key, scores in before[shared.start][numbers].scores.items():
                lost = max(1, round(shared.warm_start * len(scores)))
                kept[key] = kept_mask(keep_highest(scores, len(scores) - lost), len(scores))
            readers = {name: item for name, item in shared.criteria.items() if numbers in read[name]}
            alone, whole = self._alone(numbers), range(len(numbers))
            title = self._named(shared.name, numbers)
            own = {name: [whole] for name in readers}
            by_name = alone.gradients(shared._replace(criteria=readers), own, kept, title)
            for name, by_sample in by_name.items():
                scored[name][numbers] = by_sample[whole]
        return scored

    def _named(self, name: str, numbers: range) -> str:
        """Return the name of a pass over one sample, with the sample's range unless it reads all blocks."""
        whole = numbers == range(len(self.sweep.blocks))
        return name if whole else f"{name}-{numbers.start}-{numbers.stop}"

    def _alone(self, numbers: range) -> "_Passes":
        """Return the passes over one sample, whose sequences are numbered from 0."""
        blocks, documents = self.sweep.blocks[numbers.start : numbers.stop], self.documents
        return replace(
            self,
            sweep=replace(self.sweep, blocks=blocks),
            documents=documents and documents[numbers.start : numbers.stop],
            resamples={range(len(numbers)): self.resamples.get(numbers, 0)},
        )

    def _as_far_as_read(self, scorers: Mapping[str, Scorer]) -> Sweep:
        stop = max(sample.numbers.stop for scorer in scorers.values() for sample in scorer.samples)
        return replace(self.sweep, blocks=self.sweep.blocks[:stop])

    def _scorer(self, criterion: SweepCriterion, units: Mapping[str, Units], read: Sequence[range]) -> Scorer:
        samples = []
        for numbers in read:
            own = self.documents and self.documents[numbers.start : numbers.stop]
            count = self.resamples.get(numbers, 0)
            drawn = [resample(range(FOLDS), self.sweep.seed, number) for number in range(1, count + 1)]
            samples.append(Sample(criterion, units, numbers, folds_of(len(numbers), own), drawn))
        return Scorer(criterion, units, samples)


def _scored(scorer: Scorer) -> BySample:
    samples = scorer.samples
    return {sample.numbers: Scored(sample.scores(), sample.curve, sample.resampled()) for sample in samples}


def _joined(parts: Sequence[Scored]) -> Scored:
    if len(parts) == 1:
        return parts[0]
    counts = [sum(map(len, part.scores.values())) for part in parts]
    curve: Curve = []
    for marks in zip(*(part.curve for part in parts), strict=True):
        agreeing = sum(count * mark["agreement"] for count, mark in zip(counts, marks, strict=True))
        curve.append(Mark(sequences=marks[0]["sequences"], agreement=agreeing / sum(counts)))
    return Scored({key: x for part in parts for key, x in part.scores.items()}, curve, [])


def _on_one_device(scored: Scored, device: torch.device) -> Scored:
    """Bring all scores to one device, since the layers of a model may be on several."""
    by_sample = scored.scores, *scored.resampled
    scores, *others = ({key: x.to(device) for key, x in by_key.items()} for by_key in by_sample)
    return Scored(scores, scored.curve, others)
