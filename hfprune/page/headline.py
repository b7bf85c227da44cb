"""The answer of a study: the methods that are best by its primary outcome, by how much and how sure."""

from collections.abc import Iterator
from typing import Any

from hfprune.cells import DENSE
from hfprune.page.study_results import StudyResults
from hfprune.report.charts import focus
from hfprune.report.looks import looks_of
from hfprune.results.effect import STANDINGS
from hfprune.rounding import percent

EXTREMES = {"lower": "lowest", "higher": "highest"}


def cards(study: StudyResults) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of each model and calibration; nothing if no pruned model was measured.

    `best`, `rival` (see `_rival`), `reference` (None if there is none), `paper` (cross-entropy beside entropy,
    the paper's main comparison, or None) and `others` (the best at every other ratio) are rows of
    `StudyResults.values` with the `label` of the method and None for missing numbers. `words` are the metric's,
    `counts` the numbers of methods by their standing beside the reference, after Holm's correction.
    """
    headline = study.headline
    if headline is None:
        return
    meaning, declared = study.meanings[headline], study.data.declared
    row, outcome = declared.find(*headline[:2]), declared.outcomes().get(meaning.outcome)
    values = study.values.sort_values("value", ascending=meaning.better == "lower")
    values = values[(values["recovery"] == "none") & (values["method"] != DENSE)]
    values = values[(values[[*headline._fields]] == [*headline]).all(axis=1)]
    values = values.assign(label=[looks_of(study.data)[method].label for method in values["method"]])
    groups = values[["model", "calibrated"]].drop_duplicates().itertuples(index=False, name=None)
    for model, calibrated in [*groups]:
        rows = values[(values["model"] == model) & (values["calibrated"] == calibrated)]
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
            "model": ", ".join(filter(None, [model, calibrated])),
            "removed": percent(focus(rows)),
            "measure": meaning.name,
            "best": lines[0],
            "rival": _rival(lines),
            "reference": reference,
            "words": row.metric.words,
            "counts": _counts(beside),
            "extreme": EXTREMES[meaning.better],
            "ratio": bool(outcome and outcome.neutral),
            "resamples": int(max((line["resamples"] or 0 for line in beside), default=0)),
            "paper": next((line for line in beside if line["method"] == "cross_entropy"), None),
            "units": row.units,
            "explained": row.metric.explained,
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
