"""Three next-token distributions of the dense model, with low, medium and high entropy, and the gradients of
cross-entropy and entropy.
"""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import LINE, across, full, grid, legend, xlabel
from hfprune.report.drawing.lettering import inches, points_of
from hfprune.report.drawing.marks import EDGE, GREY
from hfprune.report.publication import FigurePublication
from hfprune.report.style import METHODS

BARS = "#D9D9D9"
NAMES = 0.8  # inches of the tokens' names beside a panel
LETTERS = 12  # of a name
DRAWN = {method: METHODS[method] for method in ("cross_entropy", "entropy")}


class Distributions(FigurePublication):
    """One row of panels per model, one column per position, after the idea of the paper's Figure 1."""

    order = 10
    shows = "distributions"
    reads = ("items.parquet",)

    def make(self, data: Collected) -> Figure | str:
        """Draw the likeliest tokens with their probabilities, and the derivatives with respect to their logits."""
        if data.distributions.empty:
            return "Next-token distributions: not measured"
        facets = [*data.distributions.groupby(["model", "level"])]
        models = sorted({*data.distributions["model"]})
        columns = min(len(facets) // len(models), across(2.0))
        rows = ceil(len(facets) / len(models) / columns)
        # A page may have no room for all tokens of every panel.
        height = min(1.9, (rcParams["figure.figsize"][1] - 1) / (rows * len(models)))
        most = max(2, int((height - 0.7) / LINE))
        figure, axes = grid([""] * rows * len(models), [""] * columns, full(), height)
        for panels, (model, own) in zip(
            axes.reshape(len(models), -1), data.distributions.groupby("model"), strict=True
        ):
            for ax, (_, facet) in zip(panels, own.groupby("level"), strict=True):
                _panel(ax, _likeliest(facet, most), full() / columns - NAMES)
            # Above the context, on a line of its own.
            panels[0].set_title(
                f"{model}\n" * (len(models) > 1) + panels[0].get_title("left"), loc="left", fontsize=_small()
            )
        xlabel(axes, "Probability;\nderivative by the logit")
        dots = [
            Line2D(
                [], [], color=look.colour, marker=look.marker, linestyle="", label=f"∂{look.label} / ∂logit"
            )
            for look in DRAWN.values()
        ]
        legend(figure, [Patch(color=BARS, label="Probability"), *dots], "Bold: the next token of the text")
        return figure


def _likeliest(facet: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return so many of the likeliest tokens; the last is the next token of the text if no other is."""
    others = facet[~facet["is_target"]].head(most - 1)
    return facet if len(facet) <= most else facet[facet["is_target"] | facet.index.isin(others.index)]


def _panel(ax: Axes, facet: pd.DataFrame, room: float) -> None:
    """Draw one position, below the end of its context that has room in so many inches."""
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
    context, entropy = facet["context"].iloc[0][-30:], facet["entropy"].iloc[0]
    while context and inches(f"…{_literal(context)}", points_of(_small())) > room:
        context = context[1:]
    ax.set_title(f"…{_literal(context)}\nH = {entropy:.1f} nats", loc="left", fontsize=_small())


def _small() -> Any:
    return rcParams["xtick.labelsize"]


def _token(text: str) -> str:
    """Return a token for display: blanks and line ends are visible, and a long one is cut."""
    text = text.replace(" ", "␣")
    cuts = (_literal(text[:end]) + "…" * (end < len(text)) for end in range(len(text), 0, -1))
    return next((drawn for drawn in cuts if len(drawn) <= LETTERS), "…")


def _literal(text: str) -> str:
    """Return text that matplotlib can draw in one line and does not read as mathematics.

    A letter that the style's first font lacks, as of Chinese, has its code.
    """
    font = get_font(findfont(FontProperties()))

    def drawn(letter: str) -> str:
        if not letter.isprintable():
            return "\ufffd"
        return letter if font.get_char_index(ord(letter)) else f"U+{ord(letter):04X}"

    return "".join(map(drawn, text.replace("\n", "⏎"))).replace("$", r"\$")
