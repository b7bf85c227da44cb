"""Every significant comparison of methods, recoveries or calibrations, cited in a text or not, as a table."""

from collections.abc import Sequence, Set

from findings.cited import Studies, effect_rows
from findings.claims import named
from findings.crossed import Shown
from findings.markdown import linked, unpadded
from hfprune.effects.questions import CLAIM, GAIN, PAIR, REFERENCE, SLOPE
from hfprune.results.declarations import within_sentence
from hfprune.results.effect_rows import EffectRow
from hfprune.study.added_effects import ADDED

HEADINGS = ["study", "comparison", "outcome", "significant effects"]
# The questions of tests that compare with the dense model: what pruning costs.
OF_PRUNING = {"training"}


def questions() -> set[str]:
    """Return the questions that compare methods, recoveries or calibrations, those of added tests among them."""
    added = {str(outline.constants["question"]) for outline in ADDED.outlines().values()}
    return {REFERENCE, GAIN, CLAIM, SLOPE} | added - OF_PRUNING


def table(studies: Studies, names: Sequence[str], elsewhere: Set[Shown]) -> str:
    """Return one row per study, pair of sides and outcome, with its effects by model, ratio and calibration.

    The table has the comparisons that are significant after the study's correction, but those that are in tables
    `elsewhere`. A claim is listed unless it is one of these comparisons the other way round.
    """
    lines: dict[tuple[str, str, str], list[str]] = {}
    for study in names:
        rows = studies.effects(study)
        compared = {_place(row) for row in effect_rows(rows[rows["question"] == REFERENCE])}
        for row in effect_rows(rows[rows["question"].isin(questions())]):
            repeated = row.question == CLAIM and _place(row) in compared
            there = study, row.question, row.metric, frozenset([row.method, row.against])
            if row.effect.sure and not repeated and there not in elsewhere:
                place = study, _sides(studies, study, row), _outcome(studies, study, row)
                lines.setdefault(place, []).append(f"{_where(studies, study, row)}: {row.effect}")
    cells = [
        [linked(study, "effects.csv"), sides, outcome, "<br>".join(effects)]
        for (study, sides, outcome), effects in lines.items()
    ]
    return unpadded(cells, HEADINGS)


def _place(row: EffectRow) -> tuple[object, ...]:
    sides = frozenset([(row.method, row.recovery), (row.against, row.against_recovery)])
    return sides, row.outcome, row.model, row.ratio, row.calibration, row.sequences


def _sides(studies: Studies, study: str, row: EffectRow) -> str:
    sides = ((row.method, row.recovery), (row.against, row.against_recovery))
    names = [f"{studies.label(study, method)}, {recovery}" for method, recovery in sides]
    compared = (" / " if row.effect.ratio else " − ").join(name.removesuffix(", none") for name in names)
    told = row.question not in (REFERENCE, CLAIM, PAIR)  # whose methods say it
    return f"{row.question.replace('_', ' ')}: {compared}" if told else compared


def _outcome(studies: Studies, study: str, row: EffectRow) -> str:
    text = studies.text(study, row.measure)
    return within_sentence(row.label) + (f" on {text}" if text else "")


def _where(studies: Studies, study: str, row: EffectRow) -> str:
    calibrations = studies.results(study).study.calibrations
    texts = [row.calibration, row.against_calibration] if len(calibrations) > 1 else []
    text = " against ".join(studies.calibration(study, name) for name in texts if name)
    # A row has the number of sequences of its own side alone; labels tell where that of the other differs.
    has_sizes = any(calibration.sizes for calibration in calibrations.values())
    size = f"{row.sequences} sequences" if has_sizes and not row.against_calibration else ""
    return ", ".join(filter(None, [named(row.model, row.ratio), text, size, row.task.replace("_", " ")]))
