"""Quality against what a user gains: measured speed-ups and, relative to the dense model, parameters;
better is lower and to the right. Bars are 95 % intervals, vertical marks theoretical speed-ups.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.cells import DENSE
from hfprune.report.charts import Chart
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.tradeoff import GAINS, QUALITIES, THEORY, tradeoff
from hfprune.report.tradeoff import label as label_of
from hfprune.results.reader import Results


class TradeoffFigure(FigurePublication):
    """Panels by model and quality, and by gain: speed-ups, and parameters kept on a reversed axis."""

    order = 15
    shows = "latency"
    empty = "Quality against speed: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        cells = data.with_calibrated(tradeoff(data.levels, data.declared))
        parts = []
        for gain, sign in GAINS.items():
            scale = 1 if sign > 0 else 100
            for quality in QUALITIES:
                names = {quality: "value", f"{quality}_low": "low", f"{quality}_high": "high", gain: "place"}
                names |= {f"{gain}_low": "left", f"{gain}_high": "right"}
                names |= {THEORY[gain][0]: "theory"} if gain in THEORY else {}
                part = cells.rename(columns=names).reindex(
                    columns=["model", "calibrated", "method", "ratio", *names.values()]
                )
                part = part.assign(place=scale * part["place"], quality=quality, gain=gain)
                parts.append(part.dropna(subset=["place", "value"]))
        found = pd.concat(parts).sort_values("model", kind="stable", ignore_index=True)
        return found if (found["method"] != DENSE).any() else found[:0]

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        drawn, rows, panels = values.assign(group=values["method"]), [], []
        for (model, quality), part in drawn.groupby(["model", "quality"], sort=False):
            cells: list[Chart | str] = []
            for gain in values["gain"].unique():
                shown, label = part[part["gain"] == gain], label_of(gain, data.declared)
                if shown.empty:
                    cells.append(f"{label}: not measured")
                    continue
                label += " (% of dense)" * (GAINS[gain] < 0)
                cells.append(Chart(shown, looks_of(data), label_of(quality, data.declared), label))
                panels.append((gain, shown))
            rows.append((f"{model}, {label_of(quality, data.declared)}", cells))
        entries = [Line2D([], [], color=GREY, marker="|", linestyle="", label="Theoretical speed-up")]
        title = "Bars: 95 % intervals over documents, and over processes where there are several"
        figure = sheet(rows, title, height=1.7, entries=entries)
        axes = [ax for ax in figure.axes if ax.axison]
        for ax, (gain, shown) in zip(axes, panels, strict=True):
            colours = [looks_of(data)[method].colour for method in shown["method"]]
            if gain in THEORY:
                ax.scatter(shown["theory"], shown["value"], c=colours, marker="|", zorder=0)
                faint: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.4, "zorder": 0}
                ax.hlines(shown["value"], shown["place"], shown["theory"], colours, **faint)
                ax.hlines(shown["value"], shown["left"], shown["right"], colours, linewidth=0.7)
            else:
                ax.invert_xaxis()  # better to the right, as for speed
        return figure
