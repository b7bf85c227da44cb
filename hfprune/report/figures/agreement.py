"""Spearman's correlation of scores, and overlap of kept neurons, for every pair of methods, and with the
effect of ablating single neurons if it was measured.
"""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfprune.analysis.neurons import ABLATION
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import full, grid, say
from hfprune.report.publication import FigurePublication


class Agreement(FigurePublication):
    """One row of two matrices per model, below the diagonal only; kept neurons at the ratio nearest to `FOCUS`."""

    order = 7
    reads = ("layers.parquet",)

    def make(self, data: Collected) -> Figure | str:
        """Draw means over layers and seeds."""
        if data.ranks.empty or data.overlap.empty:
            return "Agreement of scores and plans: not measured"
        pairs = pd.concat([data.ranks, data.overlap])
        present = {*pairs["method_a"], *pairs["method_b"]}
        names = {method: look.label for method, look in data.looks.items()} | {ABLATION: "Ablation"}
        names = {method: name for method, name in names.items() if method in present}
        ratio, models = charts.focus(data.overlap), sorted({*data.ranks["model"]})
        kept = data.overlap[data.overlap["ratio"] == ratio]
        kept_at = f"Kept neurons, Jaccard\n{100 * ratio:.3g}% (chance {kept['expected'].mean():.2f})"
        shown = (("Rank correlation of scores", data.ranks, "spearman"), (kept_at, kept, "jaccard"))
        if full() < 5:  # one below the other
            named = [f"{title}\n{model}" for title, *_ in shown for model in models]
            figure, axes = grid(named, [""], full(), full())
            axes = axes.reshape(2, -1).T
        else:
            figure, axes = grid(models, [title for title, *_ in shown], full(), full() / 2)
        for row, model in zip(axes, models, strict=True):
            for ax, (_, pairs, column) in zip(row, shown, strict=True):
                _matrix(ax, pairs[pairs["model"] == model], column, names)
        return figure


def _matrix(ax: Axes, pairs: pd.DataFrame, column: str, names: dict[str, str]) -> None:
    """Draw the mean of a column for each pair of methods, below the diagonal, with its number."""
    if pairs.empty:
        say(ax, "not measured")
        return
    present = {*pairs["method_a"], *pairs["method_b"]}
    order = [method for method in names if method in present]
    means = pairs.pivot_table(column, "method_a", "method_b").reindex(index=order, columns=order)
    below = means.fillna(means.T).where(np.tri(len(order), k=-1, dtype=bool)).to_numpy()[1:, :-1]
    labels = [names[method] for method in order]
    texts = np.array([[f"{value:.2f}".replace("0.", ".", 1) for value in row] for row in below])
    seaborn.heatmap(
        below,
        **{"vmin": 0, "vmax": 1, "cmap": "Blues", "cbar": False, "square": True, "ax": ax},
        **{"annot": texts, "fmt": "", "annot_kws": {"fontsize": min(6, 90 / len(order))}},
        **{"xticklabels": labels[:-1], "yticklabels": labels[1:]},
    )
    ax.grid(False)
    ax.tick_params(length=0, labelsize=min(7, 120 / len(order)))
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)
