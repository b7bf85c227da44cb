"""The share of questions, in percent, to which a model gives its commonest answer (the position of a choice); a
star marks a constant answer, in a share above `CONSTANT`. The first row is the share of the commonest right
answer; blank if the items do not number it.
"""

import pandas as pd
import seaborn
from matplotlib.figure import Figure

from hfprune.assets.known_tasks import tasks_in_order
from hfprune.report import charts
from hfprune.report.drawing.marks import headline, inches
from hfprune.report.drawing.panels import framed, full, wrapped
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.unread import CONSTANT
from hfprune.results.answers import MAJORITY
from hfprune.results.reader import Results

LOOK = {"vmin": 0, "vmax": 100, "cmap": "Blues", "cbar": False, "annot_kws": {"fontsize": "small"}}


class Answers(FigurePublication):
    """A matrix of percentages by method and task per model and recovery, at the ratio `focus` chooses."""

    order = 6
    reads = ("answers.csv",)
    shows = "zeroshot tasks"
    empty = "Answers to single questions: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        return data.answers.assign(share=100 * data.answers["share"]).drop(columns="balanced")

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        names = {MAJORITY: "Commonest right answer"} | {
            name: look.label for name, look in looks_of(data).items()
        }
        tasks = tasks_in_order(values["task"])
        matrices = {}
        for name, facet in charts.facets(values[values["method"] != MAJORITY]).items():
            ratio = charts.focus(facet)
            shown = facet[facet["ratio"].isin([0.0, ratio])]
            right = values[(values["method"] == MAJORITY) & values["model"].isin(facet["model"])]
            matrix = pd.concat([right, shown]).pivot_table(index="method", columns="task", values="share")
            matrix = matrix.reindex(index=[name for name in names if name in matrix.index], columns=[*tasks])
            constant = (shown["share"] > 100 * CONSTANT).any()
            heading = f"{name}, {charts.share_removed(ratio)}: share of the commonest answer, %"
            matrices[f"{heading} (* constant)" if constant else heading] = matrix.rename(index=names)
        labels = [task.short for task in tasks.values()]
        height = sum(0.18 * len(matrix) + 0.7 for matrix in matrices.values())
        figure = framed(full(), height, height)
        room = (full() - inches(max([*names.values()], key=len))) / len(tasks)
        upright = room < 1.1 * inches(max(labels, key=len))
        axes = figure.subplots(len(matrices), squeeze=False, height_ratios=[*map(len, matrices.values())])
        for ax, (name, matrix) in zip(axes.flat, matrices.items(), strict=True):
            texts = matrix.map(lambda share: f"{share:.0f}" + "*" * (share > 100 * CONSTANT))
            seaborn.heatmap(matrix, annot=texts, fmt="", ax=ax, xticklabels=labels, **LOOK)
            headline(ax, wrapped(name, full() - 0.2))
            ax.set(xlabel="", ylabel="")
            ax.grid(False)
            ax.tick_params(axis="x", rotation=90 * upright)
            ax.tick_params(axis="y", rotation=0)
        return figure
