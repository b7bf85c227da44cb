"""How the number of calibration tokens changes the primary outcome of each method, its difference from the
reference, and its kept neurons; the vertical line is the paper's calibration.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.effects.questions import REFERENCE
from hfprune.paper.printed import DOSE
from hfprune.report.charts import BARS, Chart, directed, dodge, share_removed
from hfprune.report.drawing.marks import BLACK, MARKED
from hfprune.report.drawing.panels import sheet
from hfprune.report.effects import ranking
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.results.reader import Results
from hfprune.study import paths
from hfprune.study.labels import calibration_label
from hfprune.study.study import Study

OWN, EFFECT, OVERLAP = "own", "effect", "overlap"
NO_EFFECT = "no effect"
AT = ["model", "calibration", "ratio", "method", "against", "sequences", "tokens"]
DRAWN = ["shown", *AT, "outcome", "value", "low", "high"]


class Dose(FigurePublication):
    """One row of panels per model, calibration and ratio; the methods without recovery."""

    order = 11
    reads = (paths.EFFECTS, paths.DRAWS)
    shows = "sizes"
    empty = "Sizes of the calibration: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        outcome, sizes = ranking(data, data.draws), _sizes(data.study)
        if not outcome or not sizes:
            return pd.DataFrame(columns=DRAWN)
        draws = data.draws[data.draws["outcome"] == outcome].fillna({"against": ""})
        own = draws[draws["against"] == ""]
        ends = own[["value", "low", "high"]].map(data.declared.outcomes()[outcome].shown)
        kept = draws.drop(columns=["value", "low", "high"]).rename(columns={"overlap": "value"})
        effects = data.effects[(data.effects["question"] == REFERENCE) & (data.effects["task"] == "")]
        effects = effects[(effects["outcome"] == outcome) & (effects["recovery"] == "none")]
        parts = {OWN: own.assign(**ends), EFFECT: effects, OVERLAP: kept.dropna(subset="value")}
        rows = pd.concat([part.assign(shown=name) for name, part in parts.items()], ignore_index=True)
        # A method that reads no calibration has no place on the axis.
        rows = rows[rows["calibration"].isin(sizes) & rows["method"].map(data.study.reads)]
        rows = rows.assign(tokens=rows["sequences"] * rows["calibration"].map(sizes))
        by = ["model", "calibration", "ratio", "method", "sequences"]
        return rows.sort_values(by, kind="stable")[DRAWN]

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        declared = data.declared.outcomes()[values["outcome"].iloc[0]]
        looks = looks_of(data) | {NO_EFFECT: Look("No effect", BLACK, "", ":")}
        better = declared.metric.better
        titles = {OWN: directed(declared.label, better), EFFECT: directed(declared.heading, better)}
        titles[OVERLAP] = "Neurons in common"
        methods = [method for method in looks if method in {*values["method"]}]
        aside = dict(zip(methods, dodge(len(methods), 0.05 * len(methods)), strict=True))
        group = values["method"].copy()
        for method, against in _pairs(values):
            label = f"{looks[method].label} and {looks[against].label}"
            looks[f"{method} {against}"] = looks[method]._replace(label=label, line=":")
            group[_between_methods(values) & (values["method"] == method)] = f"{method} {against}"
        points = values.assign(group=group, place=values["tokens"] * 10 ** values["method"].map(aside))
        neutral = pd.DataFrame([{"shown": EFFECT, "group": NO_EFFECT, "value": declared.neutral}])
        rows = []
        for (model, calibration, ratio), part in points.groupby(["model", "calibration", "ratio"]):
            cells: list[Chart | str] = []
            for shown, title in titles.items():
                chosen = part[part["shown"] == shown]
                if shown == EFFECT:
                    chosen = pd.concat([chosen, neutral])
                axes = title, "Calibration tokens"
                cells.append(Chart(chosen, looks, *axes, log_place=True, marked=float(DOSE)))
            parts = [model, calibration_label(data.study, calibration, 0), share_removed(ratio)]
            rows.append((", ".join(filter(None, parts)), cells))
        title = (
            f"{BARS}, of outcomes over samples, of differences over samples and documents. Neurons in common: of "
            "a method on two samples of the size; dotted: of two methods on the same sample"
        )
        return sheet(rows, title, entries=[Line2D([], [], label="The paper's calibration", **MARKED)])


def _between_methods(values: pd.DataFrame) -> pd.Series:
    return (values["shown"] == OVERLAP) & (values["against"] != "")


def _pairs(values: pd.DataFrame) -> list[tuple[str, str]]:
    pairs = values.loc[_between_methods(values), ["method", "against"]].drop_duplicates()
    return [*pairs.itertuples(index=False, name=None)]


def _sizes(study: Study) -> dict[str, int]:
    """Return the length of a sequence of each calibration that is read in several sizes."""
    return {name: read.length for name, read in study.calibrations.items() if len(read.sizes) > 1}
