"""The answer of a study: the methods nearest the dense model, by how much and how sure."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from hfprune.report.comparison import effects_shown
from hfprune.report.figures.drawing import focus, percents
from hfprune.report.page import charts
from hfprune.report.page.study import STANDINGS, Meaning, StudyResults
from hfprune.results import DENSE

# The words for the best, a better and a worse method, by the measure that ranks them.
WORDS = {
    "fidelity": ("stays nearest the dense model", "nearer", "farther"),
    "other": ("does best", "better", "worse"),
}
SHOWN = 12  # methods in the figure; all of them are in the table of methods
EXPLAINED = {
    "js_distance": "JS distance compares the next-token distributions of the pruned and the dense model; "
    "0 means that they are the same.",
    "perplexity": "Perplexity: how surprised the model is by text that it has not seen; lower is better.",
}


@dataclass(frozen=True)
class Card:
    """The answer for one model of a study."""

    study: str
    model: str
    removed: str
    measure: str
    best: dict[str, Any]
    """As the other methods: a row of `StudyResults.values`, with the `label` of the method."""
    reference: dict[str, Any] | None
    words: tuple[str, str, str]
    counts: dict[str, int]
    """Standing beside the reference → number of methods."""
    paper: dict[str, Any] | None
    """Cross-entropy beside entropy, the paper's main comparison."""
    items: str
    explained: str
    chart: dict[str, Any]
    more: int
    """Number of methods if the figure does not show all, or 0."""
    others: list[dict[str, Any]]
    """The best method at every other ratio."""


def cards(study: StudyResults) -> list[Card]:
    """Return one card per model of a study; none if no pruned model was measured."""
    headline = study.headline
    if headline is None:
        return []
    rows = study.values[(study.values["recovery"] == "none") & (study.values["method"] != DENSE)]
    rows = rows[(rows[["measure", "metric", "task"]] == [*headline]).all(axis=1)]
    meaning = study.meanings[headline]
    return [_card(study, str(model), own, meaning) for model, own in rows.groupby("model", sort=False)]


def _card(study: StudyResults, model: str, rows: pd.DataFrame, meaning: Meaning) -> Card:
    at = focus(rows)
    rows = rows.sort_values("value", ascending=meaning.better == "lower")
    by_ratio = {float(ratio): _lines(study, part) for ratio, part in rows.groupby("ratio")}
    lines = by_ratio[at]
    references = {line["reference"] for line in lines} - {""}
    reference = next((line for line in lines if line["method"] in references and not line["reference"]), None)
    beside = [line for line in lines if reference and line["reference"] == reference["method"]]
    assert study.headline is not None  # there are rows
    kind = study.declared.kind(study.headline.measure)
    words = WORDS.get(kind, WORDS["other"])
    effect = effects_shown(study.declared).get(meaning.effect)
    shown = [line for i, line in enumerate(lines) if i < SHOWN or line is reference]
    return Card(
        study=study.name,
        model=model,
        removed=_percent(at),
        measure=meaning.name,
        best=lines[0],
        reference=reference,
        words=words,
        counts={name: sum(line["standing"] == name for line in beside) for name in STANDINGS},
        paper=next((line for line in beside if line["method"] == "cross_entropy"), None),
        items="items" if kind == "zeroshot" else "blocks of text",
        explained=EXPLAINED.get(study.headline.metric, ""),
        chart=charts.forest(shown, meaning.name, effect, reference, words),
        more=len(lines) * (len(lines) > len(shown)),
        others=[{"removed": _percent(ratio), **found[0]} for ratio, found in by_ratio.items() if ratio != at],
    )


def _lines(study: StudyResults, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of `StudyResults.values` with the method's label, and None for missing numbers."""
    rows = rows.assign(label=[study.looks[method].label for method in rows["method"]]).astype(object)
    return rows.where(rows.notna(), None).to_dict("records")


def _percent(ratio: float) -> str:
    return percents([ratio])[0].removesuffix(" removed").replace("%", "\N{NO-BREAK SPACE}%")
