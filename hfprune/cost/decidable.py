"""Which claims a study can decide, predicted before it runs from the spread in an earlier study."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hfprune.assets.known_tasks import known_task
from hfprune.calibration.folds import MIN_DRAWS
from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.claims import Place, compare_items
from hfprune.measurement import Measure, TaskMeasure, TextMeasure
from hfprune.paper.claims import Claim
from hfprune.paper.relations import Paper
from hfprune.results.declarations import declare
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import POWER, Estimate
from hfprune.statistics.outcomes import NotComparableError
from hfprune.statistics.spread import resampling_dof
from hfprune.study.study import Study


class Decidable(NamedTuple):
    """What a study is expected to decide about a claim; effects are in units of `unit`."""

    claim: str
    unit: str
    documents: int
    """Documents on each side, of all tasks that the paper averages."""
    draws: str
    half_width: float
    """Expected distance of the effect from the farther end of its 95 % interval; NaN without an interval."""
    minimum_detectable_effect: float
    """The smallest distance from the threshold that 80 % of repetitions would show."""
    published: str
    """Absolute values of the smallest and largest published effect at the study's ratios: of its models, or of all
    models if the claim's tables have none of them."""
    margin: float
    """Margin of equivalence, below which effects do not matter; NaN if the claim has none."""
    decides: str


def decidable(paper: Paper, study: Study, earlier: Evidence) -> Iterator[Decidable]:
    """Yield one row per claim on differences by item whose two sides are in the study, at one of its ratios.

    The variances over draws and over items are those of the widest comparison for the claim in an earlier study,
    divided by the ratios of the numbers of draws and items. Tasks have equal weights, whatever their numbers of
    documents.
    """
    measures = study.make_measures()
    available = {ratio for model in study.models for ratio in study.ratios_of(model)}
    for claim in paper.claims:
        measure = measures.get(claim.measure)
        ratios = [at for at in claim.ratios if {ratio for *_, ratio in claim.terms(at)} <= available]
        if claim.effect == "difference" and measure and ratios and _in_study(claim, study):
            yield _row(paper, claim, study, measure, earlier, _published(paper, claim, study, ratios))


def _in_study(claim: Claim, study: Study) -> bool:
    for side in (claim.left, claim.right):
        recoveries = {*study.recoveries}
        if DENSE in side.methods:  # the dense model is always measured without recovery
            recoveries.add(Recovery.NONE)
        if not ({DENSE, *study.methods} & {*side.methods} and recoveries & {*side.recoveries}):
            return False
    return True


def _published(paper: Paper, claim: Claim, study: Study, ratios: list[float | None]) -> list[float]:
    printed = [*paper.numbers_of(claim)["model"].unique()]
    own = [name for model in study.models if (name := paper.models.get(model, "")) in printed]
    effects = (paper.effect(claim, model, at, claim.metric) for model in own or printed for at in ratios)
    return sorted(abs(effect.effect) for effect in effects if effect)


def _row(
    paper: Paper,
    claim: Claim,
    study: Study,
    measure: Measure,
    earlier: Evidence,
    published: list[float],
) -> Decidable:
    tuned = any(recovery.trains for side in (claim.left, claim.right) for recovery in side.recoveries)
    resamples = study.resamples if measure.resampled and not tuned else 0
    calibration = next(iter(study.calibrations))
    draws = len(study.draws_of(study.largest(calibration)))
    sizes = documents(measure, paper.tasks(claim))
    declared = declare(study).find(claim.measure, claim.metric)
    row = Decidable(
        claim=claim.id,
        unit=declared.unit or declared.metric.label,
        documents=sum(sizes),
        draws=f"{draws}" + (f" with {resamples} resamples" if resamples else ""),
        half_width=np.nan,
        minimum_detectable_effect=np.nan,
        published=" to ".join(f"{end:.3g}" for end in dict.fromkeys([*published[:1], *published[-1:]])),
        margin=np.nan if claim.margin is None else claim.margin,
        decides="",
    )
    if not resamples and draws < MIN_DRAWS:
        return row._replace(decides=f"nothing: fewer than {MIN_DRAWS} draws have no interval")
    dof = draws - 1 + (resampling_dof(draws, resamples) if resamples else 0)
    old = documents(earlier.study.make_measures().get(claim.measure, measure), paper.tasks(claim))
    estimates: list[Estimate] = []
    for name, at in product(earlier.models, claim.ratios):
        with suppress(NotComparableError):
            calibrated = earlier.study.largest(next(iter(earlier.study.calibrations)))
            place = Place(name, calibrated, at)
            effect = compare_items(paper, claim, earlier, place, claim.metric).effect
            if effect.has_interval and effect.spread:
                more = effect.spread.with_more(
                    draws / max(effect.draws, 1), _balanced(sizes) / _balanced(old)
                )
                estimates.append(effect.about(more._replace(draws_dof=dof)))
    if not estimates:
        return row._replace(decides="unknown: the earlier study has no interval for it")
    widest = max(estimates, key=lambda expected: expected.high - expected.low)
    half = max(widest.high - widest.value, widest.value - widest.low)
    return row._replace(
        half_width=half,
        minimum_detectable_effect=widest.minimum(),
        decides=_decides(widest, half, row.margin, published),
    )


def _decides(expected: Estimate, half: float, margin: float, published: list[float]) -> str:
    """Return what 80 % of repetitions would show: published effects, or the equivalence of two equal sides."""
    from scipy.stats import t

    shown = expected.minimum()
    equal = half + t.ppf((1 + POWER) / 2, expected.dof) * expected.stderr
    able = {
        "the published effects": bool(published) and shown <= published[0],
        "the largest published effect": bool(published) and published[0] < shown <= published[-1],
        "equivalence": equal < margin,
    }
    return " and ".join(finding for finding, shows in able.items() if shows) or "larger effects only"


def documents(measure: Measure, tasks: list[str]) -> list[int]:
    """Return the documents that a measure reads of each of these tasks, or the blocks of its text.

    Empty for other measures.
    """
    if isinstance(measure, TextMeasure):
        return [measure.blocks_to_read()]
    if not isinstance(measure, TaskMeasure):
        return []
    sizes = [known_task(task).documents for task in measure.tasks if Path(task).name in tasks]
    return [min(measure.documents or size, size) for size in sizes]


def _balanced(counts: list[int]) -> float:
    """Return the number of items that, spread evenly over tasks, would give the mean over tasks this variance."""
    return float(len(counts) ** 2 / (1 / np.array(counts)).sum()) if counts else 1.0
