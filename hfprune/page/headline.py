"""The answer of a study: the methods that are best by its primary outcome, by how much and how certainly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from hfprune.cells import DENSE
from hfprune.page.study_results import StudyResults
from hfprune.report.charts import focus
from hfprune.report.looks import looks_of
from hfprune.results.declarations import Declaration
from hfprune.results.effect import STANDINGS
from hfprune.rounding import percent

EXTREMES = {"lower": "lowest", "higher": "highest"}


class Line(NamedTuple):
    """A row of `StudyResults.values`, with the label of the method, and None for unknown numbers."""

    method: str
    label: str
    shown: str
    n: int | None
    draws: int
    reference: str
    differs: str
    resamples: float | None
    effect_shown: str
    effect_interval: str
    standing: str


class AtRatio(NamedTuple):
    """The best method at another ratio, and its rival."""

    removed: str
    best: Line
    rival: Line | None


@dataclass(frozen=True)
class Card:
    """The answer for one model and calibration."""

    study: str
    model: str
    removed: str
    measure: str
    best: Line
    rival: Line | None
    """The first method whose reference is the best one."""
    reference: Line | None
    paper: Line | None
    """Cross-entropy beside entropy, the paper's main comparison."""
    declared: Declaration
    counts: dict[str, int]
    """The numbers of methods by their standing beside the reference, after Holm's correction."""
    extreme: str
    ratio: bool
    """Whether the methods are compared by ratios."""
    resamples: int
    others: list[AtRatio]


def cards(study: StudyResults) -> Iterator[Card]:
    """Yield the answer for each model and calibration; nothing if no pruned model was measured."""
    headline = study.headline
    if headline is None:
        return
    meaning, declared = study.meanings[headline], study.data.declared
    row, outcome = declared.find(*headline[:2]), declared.outcomes().get(meaning.outcome)
    values = study.values.sort_values("value", ascending=meaning.metric.better == "lower")
    values = values[(values["recovery"] == "none") & (values["method"] != DENSE)]
    values = values[(values[[*headline._fields]] == [*headline]).all(axis=1)]
    values = values.assign(label=[looks_of(study.data)[method].label for method in values["method"]])
    groups = values[["model", "calibrated"]].drop_duplicates().itertuples(index=False, name=None)
    for model, calibrated in [*groups]:
        rows = values[(values["model"] == model) & (values["calibrated"] == calibrated)]
        by_ratio = {float(ratio): _lines(part) for ratio, part in rows.groupby("ratio")}
        focused = focus(rows)
        lines = by_ratio[focused]
        references = {line.reference for line in lines} - {""}
        reference = next((line for line in lines if line.method in references and not line.reference), None)
        beside = [line for line in lines if reference and line.reference == reference.method]
        yield Card(
            study=study.name,
            model=", ".join(filter(None, [model, calibrated])),
            removed=percent(focused),
            measure=meaning.name,
            best=lines[0],
            rival=_rival(lines),
            reference=reference,
            paper=next((line for line in beside if line.method == "cross_entropy"), None),
            declared=row,
            counts={name: sum(line.standing == name for line in beside) for name in STANDINGS},
            extreme=EXTREMES[meaning.metric.better],
            ratio=bool(outcome and outcome.neutral),
            resamples=int(max((line.resamples or 0 for line in beside), default=0)),
            others=[
                AtRatio(percent(ratio), there[0], _rival(there))
                for ratio, there in by_ratio.items()
                if ratio != focused
            ],
        )


def _lines(rows: pd.DataFrame) -> list[Line]:
    fields = rows[[*Line._fields]].astype(object).where(rows.notna(), None)
    return [Line(*row) for row in fields.itertuples(index=False, name=None)]


def _rival(lines: Sequence[Line]) -> Line | None:
    return next((line for line in lines if line.reference == lines[0].method), None)
