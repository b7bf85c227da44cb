"""The answer of a study: the methods that are best by its primary outcome, by how much and how sure."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from hfprune.page.study import ALIKE, BETTER, STANDINGS, WORSE, StudyResults, number
from hfprune.page.vega import GREY, vega_lite
from hfprune.report.axis_ends import span
from hfprune.report.charts import Axis, Chart, focus, percents
from hfprune.report.effects import Effect, effects_shown
from hfprune.report.style import Look
from hfprune.results import DENSE

# The words for the best, a better and a worse method, by the measure that ranks them.
WORDS = {
    "fidelity": ("stays nearest the dense model", "nearer", "farther"),
    "gold_bpb": ("needs the fewest bits for right answers", "better", "worse"),
}
EXTREMES = {"lower": "lowest", "higher": "highest"}
OTHER_WORDS = ("does best", "better", "worse")
SHOWN = 12  # methods in the figure; all of them are in the table of methods
EXPLAINED = {
    "js_distance": "JS distance compares the next-token distributions of the pruned and the dense model; "
    "0 means that they are the same.",
    "bpb": "Bits per byte: how many bits it takes to predict the right answers; lower is better.",
    "perplexity": "Perplexity: how surprised the model is by text that it has not seen; lower is better.",
}
NO_INTERVAL, REFERENCE = "no interval", "reference"


def cards(study: StudyResults) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of each model; nothing if no pruned model was measured.

    `best`, `rival` (see `_rival`), `reference` (None if there is none), `paper` (cross-entropy beside entropy,
    the paper's main comparison, or None) and `others` (the best at every other ratio) are rows of
    `StudyResults.values` with the `label` of the method and None for missing numbers. `words` are of `WORDS`,
    `counts` the numbers of methods by their standing beside the reference, `sure` that of the better ones
    after Holm's correction. `more` is the number of methods if the chart does not show all, or 0.
    """
    headline = study.headline
    if headline is None:
        return
    meaning, declared = study.meanings[headline], study.data.declared
    kind, effect = declared.kind(headline.measure), effects_shown(declared).get(meaning.effect)
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
        shown = [line for i, line in enumerate(lines) if i < SHOWN or line is reference]
        yield {
            "study": study.name,
            "model": model,
            "removed": _percent(focus(rows)),
            "measure": meaning.name,
            "best": lines[0],
            "rival": _rival(lines),
            "reference": reference,
            "words": words,
            "counts": {name: sum(line["standing"] == name for line in beside) for name in STANDINGS},
            "sure": sum(line["standing"] == BETTER and line["sure"] for line in beside),
            "extreme": EXTREMES[meaning.better],
            "ratio": bool(effect and effect.neutral),
            "resamples": int(max((line["resamples"] or 0 for line in beside), default=0)),
            "paper": next((line for line in beside if line["method"] == "cross_entropy"), None),
            "unit": "blocks of text" if kind in ("fidelity", "perplexity") else "items",
            "explained": EXPLAINED.get(headline.metric, ""),
            "chart": _forest(shown, meaning.name, effect, reference, words),
            "drawn": len(shown),
            "more": len(lines) * (len(lines) > len(shown)),
            "others": [
                {"removed": _percent(ratio), **found[0], "rival": _rival(found)}
                for ratio, found in by_ratio.items()
                if found is not lines
            ],
        }


def _rival(lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the next best of the methods that are compared with the best, if any is."""
    return next((line for line in lines if line["reference"] == lines[0]["method"]), None)


def _percent(ratio: float) -> str:
    return percents([ratio])[0].removesuffix(" removed").replace("%", "\N{NO-BREAK SPACE}%")


def _forest(
    lines: list[dict[str, Any]],
    measure: str,
    effect: Effect | None,
    reference: dict[str, Any] | None,
    words: tuple[str, str, str],
) -> dict[str, Any]:
    """Return the chart of an answer: one line per method, the best on top.

    It shows the difference from the reference, or the value itself if no reference was measured beside it.
    Colour and shape carry the same, so that either is enough.
    """
    tooltip = {"label": "Method", "shown": measure, "interval": "95 % interval"}
    rows, title, neutral = pd.DataFrame(lines).assign(group=""), measure, None
    if effect is not None and reference is not None:
        neutral = effect.neutral or 0.0
        rows = _beside(rows, reference, effect, neutral)
        left, right = words[1:] if effect.better < 0 else words[:0:-1]
        of = "times" if neutral else "difference from"
        title = f"{measure}, {of} {reference['label'].lower()}'s\n← {left}  |  {right} →"
        tooltip |= {"effect": "Against the reference", "effect_interval": "Its 95 % interval"}
    rows = rows.assign(
        place=np.arange(len(rows), dtype=float),
        interval=rows["interval"].replace("", "not known"),
        href="#ran",
        open="goes to what ran",
    )
    looks = {
        BETTER: Look(words[1], "#0072B2", "o"),
        ALIKE: Look(ALIKE, GREY, "D"),
        WORSE: Look(words[2], "#D55E00", ">"),
        REFERENCE: Look(REFERENCE, GREY, "s"),
        NO_INTERVAL: Look(NO_INTERVAL, GREY, "P"),
        "": Look("", "#0072B2", "o"),
    }
    ends = None if neutral is None else span(rows, neutral)
    names = [f"{line['label']}  {line['shown']}" for line in lines]
    chart = Chart(rows, looks, Axis(title, ends=ends), names=names, neutral=neutral)
    return vega_lite(chart, tooltip | {"n": "n", "draws": "Draws", "open": "Click"})


def _beside(rows: pd.DataFrame, reference: dict[str, Any], effect: Effect, neutral: float) -> pd.DataFrame:
    """Return rows whose values are their effects beside the reference.

    A method that is compared with another reference has no interval against this one.
    """
    own, compared = (rows[name] == reference["method"] for name in ("method", "reference"))
    change = rows["value"] / reference["value"] if neutral else rows["value"] - reference["value"]
    texts = pd.Series([number(value, effect.shown) for value in change])
    intervals, groups = rows["effect_interval"].replace("", "not known"), rows["standing"]
    return rows.assign(
        value=rows["effect"].where(compared, change),
        low=rows["effect_low"].where(compared),
        high=rows["effect_high"].where(compared),
        effect=rows["effect_shown"].where(compared, texts).mask(own, "–"),
        effect_interval=intervals.where(compared, "not compared").mask(own, "–"),
        group=groups.where(compared, "").replace("", NO_INTERVAL).mask(own, REFERENCE),
    )
