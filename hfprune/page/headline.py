"""The answer of a study: the methods that are best by its primary outcome, by how much and how sure."""

from collections.abc import Iterator
from typing import Any

from hfprune.analysis.effect import STANDINGS
from hfprune.page.study_results import StudyResults, percent
from hfprune.report.charts import focus
from hfprune.results import DENSE

# The words for the best, a better and a worse method, by the measure that ranks them.
WORDS = {
    "fidelity": ("stays nearest the dense model", "nearer", "farther"),
    "gold_bpb": ("needs the fewest bits for right answers", "better", "worse"),
}
EXTREMES = {"lower": "lowest", "higher": "highest"}
OTHER_WORDS = ("does best", "better", "worse")
EXPLAINED = {
    "js_distance": "JS distance compares the next-token distributions of the pruned and the dense model; "
    "0 means that they are the same.",
    "bpb": "Bits per byte: how many bits it takes to predict the right answers; lower is better.",
    "perplexity": "Perplexity: how surprised the model is by text that it has not seen; lower is better.",
}


def cards(study: StudyResults) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of each model; nothing if no pruned model was measured.

    `best`, `rival` (see `_rival`), `reference` (None if there is none), `paper` (cross-entropy beside entropy,
    the paper's main comparison, or None) and `others` (the best at every other ratio) are rows of
    `StudyResults.values` with the `label` of the method and None for missing numbers. `words` are of `WORDS`,
    `counts` the numbers of methods by their standing beside the reference, after Holm's correction.
    """
    headline = study.headline
    if headline is None:
        return
    meaning, declared = study.meanings[headline], study.data.declared
    kind, outcome = declared.kind(headline.measure), declared.outcomes().get(meaning.outcome)
    words = WORDS.get(kind, OTHER_WORDS)
    values = study.values.sort_values("value", ascending=meaning.better == "lower")
    values = values[(values["recovery"] == "none") & (values["method"] != DENSE)]
    values = values[(values[[*headline._fields]] == [*headline]).all(axis=1)]
    values = values.assign(label=[study.data.looks[method].label for method in values["method"]])
    for model in dict.fromkeys(study.values["model"]):
        rows = values[values["model"] == model]
        if rows.empty:
            continue
        by_ratio = {
            float(ratio): part.astype(object).where(part.notna(), None).to_dict("records")
            for ratio, part in rows.groupby("ratio")
        }
        lines = by_ratio[focus(rows)]
        references = {line["reference"] for line in lines} - {""}
        reference = next(
            (line for line in lines if line["method"] in references and not line["reference"]), None
        )
        beside = [line for line in lines if reference and line["reference"] == reference["method"]]
        yield {
            "study": study.name,
            "model": model,
            "removed": percent(focus(rows)),
            "measure": meaning.name,
            "best": lines[0],
            "rival": _rival(lines),
            "reference": reference,
            "words": words,
            "counts": _counts(beside),
            "extreme": EXTREMES[meaning.better],
            "ratio": bool(outcome and outcome.neutral),
            "resamples": int(max((line["resamples"] or 0 for line in beside), default=0)),
            "paper": next((line for line in beside if line["method"] == "cross_entropy"), None),
            "unit": "blocks of text" if kind in ("fidelity", "perplexity") else "items",
            "explained": EXPLAINED.get(headline.metric, ""),
            "others": [
                {"removed": percent(ratio), **found[0], "rival": _rival(found)}
                for ratio, found in by_ratio.items()
                if found is not lines
            ],
        }


def _counts(lines: list[dict[str, Any]]) -> dict[str, int]:
    return {name: sum(line["standing"] == name for line in lines) for name in STANDINGS}


def _rival(lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((line for line in lines if line["reference"] == lines[0]["method"]), None)
