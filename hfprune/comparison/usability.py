"""Whether a pruned model is usable: what it kept, and what it lost."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from hfprune.assets.known_tasks import CROWS
from hfprune.comparison.before_after import ASKED, CAPABILITY, REPEATS, TASK, class_of
from hfprune.comparison.rows import speedups
from hfprune.results.effect import ALIKE, BETTER, PERCENT_FORM, WORSE, Effect
from hfprune.results.effect_rows import EffectRow
from hfprune.rounding import percent
from hfprune.statistics.spread import MIN_DOCUMENTS


class Bounds(NamedTuple):
    """Two bounds of a loss: a share of perplexity or of a capability's number, or points of repeated 4-grams."""

    usable: float
    """A model is usable where the high end of the 95 % interval of its loss is below this."""
    lost: float
    """It is not usable where the loss itself is beyond this, and its whole interval beyond `usable`."""


# Perplexity and capabilities, relative to the dense model. By the scaling law of Kaplan et al. (2020), where the
# loss is proportional to N^-0.076 for N parameters, a dense model with 70 % of the parameters loses 10 % at 3.4
# nats, and one with 23 % loses 50 %: the first is about what a ratio of 0.3 saves; beyond the second, a small
# dense model is better.
LOSS = Bounds(0.1, 0.5)
# Points of repeated 4-grams. Welleck et al. (2020, Table 2) count 0.6 % in human text and 44 % in greedy text of a
# model: 44 points more than the dense model are too many, and half of that is still usable.
REPETITION = Bounds(22, 44)
# No model that has learnt a language has so high a perplexity on ordinary text.
BROKEN = 1000.0
USABLE, UNCLEAR, LOST = "usable", "not shown usable", "not usable"
VERDICTS = USABLE, UNCLEAR, LOST
# Mixes with more text of a capability's kind.
MORE_TEXT = {"code": "c4=1,code=4", "mathematics": "c4=2,code=1,math=1"}


def standing(loss: Effect, bounds: Bounds) -> str:
    """Return the verdict on a loss, one of `VERDICTS`; `UNCLEAR` where its interval is too wide to tell."""
    if loss.value > bounds.lost and loss.low > bounds.usable:
        return LOST
    return USABLE if loss.high < bounds.usable else UNCLEAR


def conclusions(
    rows: Sequence[EffectRow],
    vocabulary: int,
    repaired: bool,
    most: float | None = None,
    keep: Collection[str] = (),
    calibrated_on: str = "",
) -> list[str]:
    """Return in plain sentences what was kept and what was lost, the worst first; empty if nothing was measured.

    Args:
        rows: the effects of the exported model against the dense one.
        vocabulary: the number of tokens in the vocabulary, which is the perplexity of a blind guess.
        repaired: whether training was tried, so that it is not advised.
        most: the rise of perplexity that the user allows, by which the model is judged; None: judge by `LOSS` and
            `REPETITION`. Other losses are reported in either case.
        keep: capabilities to which this limit applies, too.
        calibrated_on: the text that chose what stays; "" if none did.
    """
    texts = [row for row in rows if class_of(row.measure) == "perplexity"]
    repetitions = [row for row in rows if row.measure == REPEATS]
    for row in texts:
        if row.base > min(BROKEN, vocabulary / 4):
            return [
                f"Warning: the dense model itself is broken or cannot read this text ({row.label}: "
                f"{row.base:,.0f}): the comparison says nothing of pruning. Look at its weights, tokenizer and "
                "dtype."
            ]
    capabilities = [
        row for row in rows if class_of(row.measure) in (CAPABILITY, TASK) and row.metric != CROWS
    ]
    lost = sorted((row for row in capabilities if row.effect.standing == WORSE), key=_fall, reverse=True)
    kept = {name.replace("_", " ") for name in keep}
    if most:
        sentences = _by_limit(texts, capabilities, lost, most, kept)
    else:
        sentences = _by_bounds([*texts, *repetitions], capabilities, lost)
    if not sentences:
        return []
    sentences += [
        f"Its greedy text is degenerate: {row.own:.0f} % of its 4-grams stood in it before, against "
        f"{row.base:.0f} % in the dense model's."
        for row in repetitions
        if row.value > REPETITION.usable and row.effect.side == 1
    ]
    helps = [*_calibration(texts, lost, calibrated_on)]
    if not most:
        helps += _other_helps([*texts, *repetitions], lost, repaired)
    elif others := [row.task for row in lost if class_of(row.measure) == CAPABILITY and row.task not in kept]:
        helps.append(f"--keep {','.join(others).replace(' ', '_')}, which limits the cut by these, too")
    return [*sentences, f"What may help: {'; '.join(helps)}."] if helps else sentences


def fast_enough(rows: Sequence[EffectRow], goal: float) -> str:
    """Return the sentence on a model that was chosen as so many times as fast as the dense one."""
    speeds = speedups(rows, goal)
    found = " and ".join(f"{name} is {speed} times" for name, speed in speeds.items())
    slower = min(speeds, key=lambda name: speeds[name].low)
    return (
        f"Conclusion: fast enough for --speedup {goal:g}: {found} as fast as in the dense model, by 95 % "
        f"intervals over turns with it; {slower}, which gained less, decided."
    )


def _fall(row: EffectRow) -> float:
    """Return what a capability or task has lost, as a share of the dense model's number."""
    return -row.effect.better * row.value / row.base if row.base else math.inf


def _may_have_lost(row: EffectRow, most: float) -> bool:
    """Tell whether the interval of a capability or task reaches a loss of `most`, as a share, or is unknown."""
    worst = max(-row.effect.better * row.low, -row.effect.better * row.high)
    return not worst < most * row.base


def _share_lost(row: EffectRow) -> Effect:
    """Return the rise of a capability's bits per byte as a share of the dense model's."""
    dense = row.base or math.nan
    return Effect(row.value / dense, row.low / dense, row.high / dense, form=PERCENT_FORM, better=-1)


def _summary(
    capabilities: Sequence[EffectRow], lost: Sequence[EffectRow], most: float, held: Collection[str] = ()
) -> str:
    """Return what was lost, the worst first, what was kept, and the rest, as the end of the first sentence."""
    if not capabilities:
        return ", by text alone: right answers were not measured"
    return ": " + "; ".join(filter(None, [_lost(lost), *_rest(capabilities, most, held)]))


def _lost(lost: Sequence[EffectRow]) -> str:
    return f"worse at {', '.join(_ends(lost))}" if lost else ""


def _rest(capabilities: Sequence[EffectRow], most: float, held: Collection[str]) -> Iterator[str]:
    """Yield what was kept, improved, and so on; a capability in `held` is within the limit set for it.

    No loss is shown in a capability only if its interval excludes a loss of `most`, as a share of the dense
    model's number; else there were too few questions.
    """
    within = _ends(row for row in capabilities if row.task in held)
    capabilities = [row for row in capabilities if row.task not in held]
    better = _ends(row for row in capabilities if row.effect.standing == BETTER)
    alike = [row for row in capabilities if row.effect.standing in (ALIKE, "")]
    kept = [row.task for row in alike if not _may_have_lost(row, most)]
    unknown = [row.task for row in alike if _may_have_lost(row, most)]
    groups = {
        "kept": within,
        "better at": better,
        "no loss shown in": kept,
        "too few questions to tell of": unknown,
    }
    yield from (f"{words} {', '.join(names)}" for words, names in groups.items() if names)


def _by_bounds(
    yardsticks: Sequence[EffectRow], capabilities: Sequence[EffectRow], lost: Sequence[EffectRow]
) -> list[str]:
    """Return whether the model is usable, judged by the worst of all measured losses."""
    verdicts = {row.label: standing(row.effect.change, _bounds(row)) for row in yardsticks}
    # A significant loss is never usable, however small.
    verdicts |= {row.label: LOST if _fall(row) > LOSS.lost else UNCLEAR for row in lost}
    if not verdicts:
        return []
    verdict = max(verdicts.values(), key=VERDICTS.index)
    sentences = [f"Conclusion: {verdict}{_summary(capabilities, lost, LOSS.usable)}."]
    if yardsticks:
        row = max(yardsticks, key=lambda row: VERDICTS.index(verdicts[row.label]))
        usable, beyond = (_bound(row, bound) for bound in _bounds(row))
        sentences.append(
            f"{verdicts[row.label].capitalize()} by {_changed(row)} against the dense model's: a model is usable "
            f"if the interval ends below {usable}, and not usable if the change is beyond {beyond} and the "
            f"interval begins above {usable}."
        )
    return sentences


def _by_limit(
    texts: Sequence[EffectRow],
    capabilities: Sequence[EffectRow],
    lost: Sequence[EffectRow],
    most: float,
    keep: Collection[str],
) -> list[str]:
    """Return whether the model is within the user's limit, what else it lost, and its loss on other texts.

    A loss elsewhere comes before a limit that is kept, and beyond `LOSS.lost` the model is not usable.
    """
    judged = [(row, row.effect.change) for row in texts if row.measure.startswith(ASKED)]
    judged += [(row, _share_lost(row)) for row in capabilities if row.task in keep]
    if not judged:
        return []
    place = {USABLE: "within", UNCLEAR: "not shown to be within", LOST: "beyond"}
    standings = [(row, standing(loss, Bounds(most, most))) for row, loss in judged]
    verdict = max((judgement for _, judgement in standings), key=VERDICTS.index)
    deciding = [row.task for row, judgement in standings if judgement == verdict]
    names = [name if name in keep else "perplexity" for name in deciding]
    limit, named = f"{place[verdict]} --max-loss {percent(most)}", _listed(sorted(names))
    held = {row.task for row, loss in judged if row.task in keep and loss.high < most}
    lost = [row for row in lost if row.task not in held]
    if lost and verdict == USABLE:
        too_much = f"{LOST}: " if any(_fall(row) > LOSS.lost for row in lost) else ""
        said = too_much + "; ".join([_lost(lost), f"{named} {limit}", *_rest(capabilities, most, held)])
    else:
        limit += f" for {named}" if keep else ""
        said = f"{limit}{_summary(capabilities, lost, most, held)}"
    changes = "; ".join(f"{row.label}: {loss} ({_basis(row)})" for row, loss in judged)
    others = [_changed(row) for row in texts if not row.measure.startswith(ASKED)]
    return [
        f"Conclusion: {said}.",
        f"Against the dense model's, {changes}. The limit is met if "
        f"{'every' if keep else 'its'} interval ends below +{percent(most)}.",
        *([f"On text that did not choose the cut: {'; '.join(others)}."] if others else []),
    ]


def _listed(names: Sequence[str]) -> str:
    """Return names with commas, and *and* before the last."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _bounds(row: EffectRow) -> Bounds:
    return REPETITION if row.measure == REPEATS else LOSS


def _basis(row: EffectRow) -> str:
    return f"95 % interval, n = {row.n}" if row.effect.has_interval else f"no interval, n = {row.n}"


def _changed(row: EffectRow) -> str:
    return f"{row.label}: {row.effect.change} ({_basis(row)})"


def _bound(row: EffectRow, bound: float) -> str:
    return f"+{bound:.0f} points" if row.measure == REPEATS else f"+{percent(bound)}"


def _calibration(texts: Sequence[EffectRow], lost: Sequence[EffectRow], calibrated_on: str) -> Iterator[str]:
    """Yield the advice to calibrate on other text if a capability fell by more than perplexity did."""
    rise = max((row.effect.change.value for row in texts), default=math.inf)
    if calibrated_on and (fallen := [row.task for row in lost if _fall(row) > rise]):
        mixes = [MORE_TEXT[task] for task in fallen if task in MORE_TEXT]
        # A text mixed for this call is named after its mix.
        others = [mix for mix in mixes if calibrated_on != f"mix-{re.sub('[=,]', '-', mix)}"]
        flags = [f"--mix {mix}" for mix in others] or ["--text or --mix"]
        yield (
            f"calibration on more text like {', '.join(fallen)}, which fell by more than perplexity did "
            f"({', '.join(flags)}; this was {calibrated_on})"
        )


def _other_helps(yardsticks: Sequence[EffectRow], lost: Sequence[EffectRow], repaired: bool) -> Iterator[str]:
    """Yield other advice that may make a model usable, or show that it is."""
    unsure = [row for row in yardsticks if standing(row.effect.change, _bounds(row)) != USABLE]
    # Only the first that more text of the user would decide; the suite itself supplies the text for repetitions.
    yield from [more for row in unsure if row.measure != REPEATS and (more := _more(row))][:1]
    if unsure or lost:
        yield "a lower --ratio"
        if not repaired:
            yield "recovery (--recover)"


def _more(row: EffectRow) -> str:
    """Return how much more text would tell whether the model is usable, or "" if none would."""
    if not row.effect.has_interval:
        return f"text of {MIN_DOCUMENTS} documents or more, for an interval (--eval-text)"
    limit = 1 + LOSS.usable
    if row.value < limit:
        # An interval narrows by the root of the number of documents, if the loss stays as it is.
        times = max(2, math.ceil((math.log(row.high / row.value) / math.log(limit / row.value)) ** 2))
        return f"{times if times <= 100 else 'over 100'} times the text, which would show it (--eval-text)"
    # The interval is too wide to say whether the model is lost.
    return "more text, since the interval allows for both (--eval-text)" if row.low < limit else ""


def _ends(rows: Iterable[EffectRow]) -> list[str]:
    """Return each capability or task with its numbers before and after; a unit is named where it first stands."""
    texts, named = list[str](), set[str]()
    for row in rows:
        _, before, after, *_ = row.words()
        unit = "% right" if class_of(row.measure) == TASK else "bits per byte"
        ends = f"{before} → {after}" + (f" {unit}" if unit not in named else "")
        change = f", {Effect(row.value / row.base, form=PERCENT_FORM)}" if row.base else ""
        texts.append(f"{row.task} ({ends}{change})")
        named.add(unit)
    return texts
