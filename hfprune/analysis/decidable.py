"""Which claims a study can decide, before it is run: the intervals to expect from the spread in an earlier one."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotComparableError, NotMeasuredError
from hfprune.analysis.statistics import MIN_DRAWS, Estimate, Spread, resampling_freedom
from hfprune.analysis.verdicts import compare_items
from hfprune.assets.text_sizes import reading
from hfprune.measures import Measure, TaskMeasure, TextMeasure
from hfprune.paper.claims import Claim, Paper, Side
from hfprune.results import DENSE
from hfprune.study.study import Study


class Decidable(NamedTuple):
    """What a study can say to a claim, in the units of the effect, for readers."""

    claim: str
    documents: int
    """On each side, of all tasks."""
    draws: str
    half_width: float
    """Expected distance of the effect from the farther end of its 95 % interval; NaN: there will be none."""
    minimum_detectable_effect: float
    """The smallest distance from the threshold that 80 % of repetitions would show."""
    published: str
    """The smallest and the largest published effect, without their signs."""
    margin: float
    """An effect below it matters to nobody; NaN: the claim has none."""
    decides: str


def decidable(paper: Paper, study: Study, earlier: Evidence) -> Iterator[Decidable]:
    """Yield a row for each claim on differences by item whose two sides are in the study.

    The variances over draws and over items are those of the earlier study's widest comparison for the claim,
    divided by how many times more draws and items there will be. Tasks count alike, whatever their documents.

    Args:
        paper: the claims, and the published effects.
        study: the one to be run.
        earlier: one that was run, with the outcomes of its items.
    """
    measures = study.make_measures()
    for claim in paper.claims:
        measure = measures.get(claim.measure)
        if claim.effect == "difference" and measure and _in_study(claim, study):
            yield _row(paper, claim, study, measure, earlier)


def _in_study(claim: Claim, study: Study) -> bool:
    def there(side: Side) -> bool:
        # The dense model is always measured as it is.
        recoveries = {*study.recoveries} | ({"none"} if DENSE in side.methods else set())
        return bool({DENSE, *study.methods} & {*side.methods} and recoveries & {*side.recoveries})

    return there(claim.left) and there(claim.right)


def _row(paper: Paper, claim: Claim, study: Study, measure: Measure, earlier: Evidence) -> Decidable:
    tuned = "lora" in (*claim.left.recoveries, *claim.right.recoveries)
    resamples = study.calibration.resamples if measure.resampled and not tuned else 0
    margin = np.nan if claim.margin is None else claim.margin
    effects = [
        abs(found.effect)
        for model in paper.of(claim)["model"].unique()
        for at in claim.ratios
        if (found := paper.effect(claim, model, at, claim.metric))
    ]
    row = Decidable(
        claim=claim.id,
        documents=sum(documents(measure)),
        draws=f"{len(study.seeds)}" + (f" with {resamples} resamples" if resamples else ""),
        half_width=np.nan,
        minimum_detectable_effect=np.nan,
        published=" to ".join(f"{end:.3g}" for end in sorted({min(effects), max(effects)}))
        if effects
        else "",
        margin=margin,
        decides="nothing: one draw has no interval",
    )
    if not resamples and len(study.seeds) < MIN_DRAWS:
        return row
    known = [
        _expected(effect, claim, study, resamples, measure, earlier)
        for effect in _effects(paper, claim, earlier)
    ]
    if not known:
        return row._replace(decides="unknown: the earlier study has no interval for it")
    widest = max(known, key=lambda expected: expected.high - expected.low)
    half, shown = max(widest.high - widest.value, widest.value - widest.low), widest.minimum()
    able = {
        "the published effects": bool(effects) and shown <= min(effects),
        "the largest published effect": bool(effects) and min(effects) < shown <= max(effects),
        "equivalence": half < margin,
    }
    decides = " and ".join(what for what, yes in able.items() if yes) or "larger effects only"
    return row._replace(half_width=half, minimum_detectable_effect=shown, decides=decides)


def _effects(paper: Paper, claim: Claim, earlier: Evidence) -> Iterator[Estimate]:
    """Yield the earlier study's effects for a claim that have an interval."""
    for model in earlier.models:
        for at in claim.ratios:
            try:
                found = compare_items(paper, claim, earlier, model, at, claim.metric).effect
            except (NotMeasuredError, NotComparableError):
                continue
            if found.spread and found.known:
                yield found


def _expected(
    found: Estimate, claim: Claim, study: Study, resamples: int, measure: Measure, earlier: Evidence
) -> Estimate:
    """Return an earlier estimate with the interval to expect in the study."""
    before = earlier.study.make_measures()[claim.measure]
    spread: Spread = found.spread.with_more(  # type: ignore[union-attr]
        draws=len(study.seeds) / max(found.draws, 1), items=_balanced(measure) / _balanced(before)
    )
    if resamples:
        spread = spread._replace(draws_freedom=resampling_freedom(len(study.seeds), resamples))
    return found.about(spread)


def documents(measure: Measure) -> list[int]:
    """Return the number of items of each task of a measure, as far as it is known before anything is fetched."""
    if isinstance(measure, TextMeasure):
        return [measure.blocks_to_read()]
    if not isinstance(measure, TaskMeasure):
        return []
    sizes = [reading("tasks", task).documents for task in measure.tasks]
    return [min(measure.documents or size, size) for size in sizes]


def _balanced(measure: Measure) -> float:
    """Return how many items, spread evenly over the tasks, would give the mean over tasks the same variance."""
    counts = np.array(documents(measure))
    return float(len(counts) ** 2 / (1 / counts).sum())
