"""A study's effects by model, calibration and reading, and tests of what they depend on, as Markdown tables."""

import re
from collections.abc import Iterable, Iterator

from findings.cited import Cited, Studies, effect_rows
from findings.claims import named
from findings.markdown import unpadded
from hfprune.effects.added.terms import Terms
from hfprune.effects.questions import REFERENCE
from hfprune.errors import HfpruneError
from hfprune.results.effect import Effect
from hfprune.results.effect_rows import EffectRow

# How `Terms` names its rows: the models' difference, then the term, of one text less another or of same kinds.
_TERM = re.compile(r"(?P<model>model(?: × |(?=:)))?(?P<term>.*?)(?:: less (?P<other>[^:]+))?")
_TEXTS = re.compile(r"(?P<kind>calibration|reading): (?P<one>\S+) less (?P<other>\S+)")
EMPTY = "–"
Shown = tuple[str, str, str, frozenset[str]]  # study, question, metric, and the two methods


def asked(words: str) -> tuple[str, str, str, str]:
    """Return study, metric and the two methods of `STUDY METRIC METHOD against METHOD`.

    Raises:
        HfpruneError: the words have another form.
    """
    match words.split():
        case [study, metric, method, "against", other]:
            return study, metric, method, other
    raise HfpruneError(f"{words!r}: write STUDY METRIC METHOD against METHOD")


def table(studies: Studies, words: str) -> str:
    """Return the effects on a metric, one row per model, ratio and calibration, and one column per reading.

    Raises:
        HfpruneError: two effects have the same place, as of several numbers of sequences or recoveries.
    """
    study, *_ = asked(words)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cited in _effects(studies, words, REFERENCE):
        row = cited.row
        place = named(row.model, row.ratio), studies.calibration(study, row.calibration)
        effects, reading = rows.setdefault(place, {}), studies.text(study, row.measure)
        if reading in effects:
            raise HfpruneError(f"{words!r}: two effects are of {', '.join(place)}, evaluated on {reading}")
        effects[reading] = str(cited.effect)
    readings = [*dict.fromkeys(reading for effects in rows.values() for reading in effects)]
    lines = [[*place, *(effects.get(name, EMPTY) for name in readings)] for place, effects in rows.items()]
    return unpadded(
        lines, ["model, removed", "calibrated on", *(f"evaluated on {name}" for name in readings)]
    )


def terms(studies: Studies, words: str) -> str:
    """Return the tests of calibration, reading and same kind on each model, and of each between two models."""
    study, *_ = asked(words)
    lines: dict[str, dict[str, Effect]] = {}
    for cited in _effects(studies, words, Terms.question):
        term, other = _parsed(studies, study, cited.row)
        model = named(cited.row.model, cited.row.ratio)
        column = f"{cited.row.model} minus {other}" if other else model
        lines.setdefault(term, {})[column] = cited.effect
    columns = [*dict.fromkeys(column for effects in lines.values() for column in effects)]
    cells = [
        [term, *(str(effects[column]) if column in effects else EMPTY for column in columns)]
        for term, effects in sorted(lines.items(), key=lambda line: line[0] != MEAN)
    ]
    return unpadded(cells, ["change of the difference", *columns])


MEAN = "mean of all texts"


def _parsed(studies: Studies, study: str, row: EffectRow) -> tuple[str, str]:
    """Return a term in words for readers, and the model that is subtracted, "" if none is."""
    found = _TERM.fullmatch(row.task)
    assert found
    of_models = bool(found["model"])
    other = studies.models.get(found["other"] or "", found["other"] or "") if of_models else ""
    term = found["term"] if of_models else row.task
    if texts := _TEXTS.fullmatch(term):
        name = studies.calibration if texts["kind"] == "calibration" else studies.text
        verb = "calibrated" if texts["kind"] == "calibration" else "evaluated"
        return f"{verb} on {name(study, texts['one'])} minus {name(study, texts['other'])}", other
    same = "calibrated and evaluated on the same kind of text, minus on different kinds"
    return (same if term else MEAN), other


def _effects(studies: Studies, words: str, question: str) -> Iterator[Cited]:
    """Yield the effects of a question on a metric of one method less another, in the order of the table."""
    study, metric, method, against = asked(words)
    rows = studies.effects(study)
    found = False
    for row in effect_rows(rows[(rows["question"] == question) & (rows["metric"] == metric)]):
        sides = row.method, row.against
        if sides in ((method, against), (against, method)):
            found = True
            yield Cited.of_row("", row, turned=sides != (method, against))
    if not found:
        raise HfpruneError(f"{study} has no {question} {metric} of {method} against {against}")


def shown(blocks: Iterable[str]) -> set[Shown]:
    """Return what the tables of this module among blocks, as `crossed WORDS`, show."""
    questions = {"crossed": REFERENCE, "terms": Terms.question}
    found = set()
    for block in blocks:
        name, _, words = block.partition(" ")
        if name in questions:
            study, metric, *methods = asked(words)
            found.add((study, questions[name], metric, frozenset(methods)))
    return found
