"""Three next-token distributions of the dense model, with low, medium and high entropy, and the gradients of
cross-entropy and entropy.
"""

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import grid, legend, strip, xlabel
from hfprune.report.drawing.marks import EDGE, GREY
from hfprune.report.publication import FigurePublication
from hfprune.report.style import FULL_WIDTH, METHODS

BARS = "#D9D9D9"
DRAWN = {method: METHODS[method] for method in ("cross_entropy", "entropy")}


class Distributions(FigurePublication):
    """One row of panels per model, one column per position, after the idea of the paper's Figure 1."""

    order = 10
    reads = ("distributions.parquet",)

    def make(self, data: Collected) -> Figure | str:
        """Draw the likeliest tokens with their probabilities, and the derivatives with respect to their logits."""
        if data.distributions.empty:
            return "Next-token distributions: not measured"
        facets = [*data.distributions.groupby(["model", "level"])]
        models = sorted({*data.distributions["model"]})
        columns = len(facets) // len(models)
        figure, axes = grid([""] * len(models), [""] * columns, FULL_WIDTH, 1.9)
        for ax, (_, facet) in zip(axes.flat, facets, strict=True):
            _panel(ax, facet)
        # Beside the row: above it stand the contexts.
        for ax, model in zip(axes[:, -1], models if len(models) > 1 else (), strict=False):
            strip(ax, model, 1.5)
        xlabel(axes, "Probability;\nderivative by the logit")
        dots = [
            Line2D(
                [], [], color=look.colour, marker=look.marker, linestyle="", label=f"∂{look.label} / ∂logit"
            )
            for look in DRAWN.values()
        ]
        legend(figure, [Patch(color=BARS, label="Probability"), *dots], "Bold: the next token of the text")
        return figure


def _panel(ax: Axes, facet: pd.DataFrame) -> None:
    ys = np.arange(len(facet))
    ax.barh(ys, facet["probability"], color=BARS, height=0.7)
    for method, look in DRAWN.items():
        gradient = facet[f"{method}_gradient"]
        ax.plot(gradient, ys, color=look.colour, marker=look.marker, linestyle="", **EDGE)
    ax.axvline(0, color=GREY, linewidth=0.6)
    ax.grid(axis="x")
    ax.grid(False, axis="y")
    ax.set(xlim=(-1.05, 1.05), yticks=ys, yticklabels=map(_token, facet["token"]))
    for label, is_target in zip(ax.get_yticklabels(), facet["is_target"], strict=True):
        label.set_fontweight("bold" if is_target else "normal")
    ax.invert_yaxis()
    context, entropy = _literal(facet["context"].iloc[0][-30:]), facet["entropy"].iloc[0]
    title = f"…{context}\nH = {entropy:.1f} nats"
    ax.set_title(title, loc="left", fontsize=rcParams["xtick.labelsize"])


def _token(text: str) -> str:
    """Return a token for display: blanks and line ends are visible, and a long one is cut."""
    visible = _literal(text.replace(" ", "␣"))
    return visible if len(visible) <= 12 else visible[:11] + "…"


def _literal(text: str) -> str:
    """Return text that matplotlib can draw in one line and does not read as mathematics."""
    line = text.replace("\n", "⏎")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line).replace("$", r"\$")
