"""Spearman's correlation of scores, and overlap of kept neurons, for every pair of methods."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import headline
from hfprune.report.drawing.panels import full, grid, say
from hfprune.report.publication import FigurePublication


class Agreement(FigurePublication):
    """One row of two matrices per model, below the diagonal only; kept neurons at the ratio nearest to `FOCUS`."""

    order = 7
    reads = ("layers.parquet",)
    empty = "Agreement of scores and plans: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        if data.ranks.empty or data.overlap.empty:
            return pd.DataFrame()
        ratio = charts.focus(data.overlap)
        kept = data.overlap[data.overlap["ratio"] == ratio]
        chance = f"Kept neurons, Jaccard, {100 * ratio:.3g}% (chance {kept['expected'].mean():.2f})"
        parts = {"Rank correlation of scores": data.ranks.rename(columns={"spearman": "value"})}
        parts[chance] = kept.rename(columns={"jaccard": "value"})
        rows = pd.concat([part.assign(of=name) for name, part in parts.items()])
        by = ["of", "model", "method_a", "method_b"]
        return rows.groupby(by, as_index=False, sort=False)["value"].mean()

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        names = {method: look.label for method, look in data.looks.items()}
        models, matrices = sorted({*values["model"]}), [*values["of"].unique()]
        figure, axes = grid(models, matrices, full(), full() / 2)
        for ax, (model, of) in zip(
            axes.flat, [(model, of) for model in models for of in matrices], strict=True
        ):
            pairs = values[(values["model"] == model) & (values["of"] == of)]
            if pairs.empty:
                say(ax, "not measured")
                continue
            present = {*pairs["method_a"], *pairs["method_b"]}
            order = [method for method in names if method in present]
            means = pairs.pivot(index="method_a", columns="method_b", values="value").reindex(
                index=order, columns=order
            )
            below = means.fillna(means.T).where(np.tri(len(order), k=-1, dtype=bool)).to_numpy()[1:, :-1]
            labels, size = [names[method] for method in order], min(7, 120 / len(order))
            seaborn.heatmap(
                below,
                **{"vmin": 0, "vmax": 1, "cmap": "Blues", "cbar": False, "square": True, "ax": ax},
                **{"annot": True, "fmt": ".2f", "annot_kws": {"fontsize": min(6, 90 / len(order))}},
                **{"xticklabels": labels[:-1], "yticklabels": labels[1:]},
            )
            # Names of methods may leave little room for the title.
            headline(ax, ax.get_title(loc="left"), matrices.index(of) / len(matrices))
            ax.grid(False)
            ax.tick_params(length=0, labelsize=size)
            ax.tick_params(axis="x", rotation=90)
            ax.tick_params(axis="y", rotation=0)
        return figure
