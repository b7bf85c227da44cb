"""Loss of quality against measured speed-ups, where right is better, and bytes on disk, where left is; lower is
better. Bars are 95 % intervals, vertical marks theoretical speed-ups; a line joins the Pareto front. Where the
source is a file of four bits, the dense model in four bits is that source itself.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.cells import DENSE
from hfprune.report.charts import BARS, Chart, directed
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.tradeoff import BYTES, QUALITIES, THEORY, front, tradeoff
from hfprune.report.tradeoff import label as label_of
from hfprune.results.reader import Results


class TradeoffFigure(FigurePublication):
    """A row of panels per quality, by model and speed-up."""

    order = 15
    shows = "latency"
    empty = "Quality against speed: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        cells = data.with_calibrated(tradeoff(data.levels, data.declared))
        parts = []
        for gain in (*THEORY, *BYTES):
            theory, *_ = THEORY.get(gain, ("",))
            for quality in QUALITIES:
                names = {quality: "value", f"{quality}_low": "low", f"{quality}_high": "high", gain: "place"}
                names |= {f"{gain}_low": "left", f"{gain}_high": "right", theory: "theory"}
                part = cells.rename(columns=names).reindex(
                    columns=["model", "calibrated", "method", "ratio", *names.values()]
                )
                part["place"] *= 1e-9 if gain in BYTES else 1
                part = part.assign(quality=quality, gain=gain)
                parts.append(part.dropna(subset=["place", "value"]))
        points = pd.concat(parts).sort_values("model", kind="stable", ignore_index=True)
        return points if (points["method"] != DENSE).any() else points[:0]

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        drawn, rows, panels = values.assign(group=values["method"]), [], []
        for quality, part in drawn.groupby("quality", sort=False):
            title, cells = directed(label_of(str(quality), data.declared), "lower"), []
            for (model, gain), shown in part.groupby(["model", "gain"], sort=False):
                better = "lower" if gain in BYTES else "higher"
                axis = label_of(str(gain), data.declared) + (" (GB)" if gain in BYTES else "")
                cells.append(Chart(shown, looks_of(data), title, directed(axis, better), heading=str(model)))
                panels.append((shown, front(shown, better)))
            rows.append(("", cells))
        entries = [
            Line2D([], [], color=GREY, marker="|", linestyle="", label="Theoretical speed-up"),
            Line2D([], [], color=GREY, linewidth=0.7, label="Pareto front"),
        ]
        legend = f"{BARS} over documents, and over processes where there are several"
        figure = sheet(rows, legend, height=1.7, entries=entries)
        for ax, (shown, best) in zip([ax for ax in figure.axes if ax.axison], panels, strict=True):
            ax.plot(best["place"], best["value"], color=GREY, linewidth=0.7, zorder=0)
            colours = [looks_of(data)[method].colour for method in shown["method"]]
            ax.scatter(shown["theory"], shown["value"], c=colours, marker="|", zorder=0)
            faint: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.4, "zorder": 0}
            ax.hlines(shown["value"], shown["place"], shown["theory"], colours, **faint)
            ax.hlines(shown["value"], shown["left"], shown["right"], colours, linewidth=0.7)
        return figure
