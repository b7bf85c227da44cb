"""Three next-token distributions of the dense model, with low, medium and high entropy: probabilities, and the
gradients of cross-entropy and entropy.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hfprune.report.drawing.marks import EDGE, GREY, inches
from hfprune.report.drawing.panels import framed, full, legend
from hfprune.report.publication import FigurePublication
from hfprune.report.style import METHODS
from hfprune.results.reader import Results

BARS, LETTERS = "#D9D9D9", 12  # of a token's name
NARROWEST = 1.9  # inches of a panel; where they do not fit side by side, they stand one below the other
DRAWN = {method: METHODS[method] for method in ("cross_entropy", "entropy")}


class DistributionsFigure(FigurePublication):
    """A panel per model and entropy: bars are probabilities, points derivatives by the logit."""

    order = 10
    shows = "distributions"
    reads = ("items.parquet",)
    empty = "Next-token distributions: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        gradients = [f"{method}_gradient" for method in DRAWN]
        columns = ["model", "level", "entropy", "context", "token", "is_target", "probability", *gradients]
        return data.distributions.reindex(columns=columns)

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        models = sorted({*values["model"]})
        columns = max(len({*part["level"]}) for _, part in values.groupby("model"))
        beside = columns if full() / columns > NARROWEST else 1
        lines = len(models) * columns // beside
        least = (1.6 if beside > 1 else 2.1) * lines + 0.5
        figure = framed(full(), 2.1 * lines + 0.5, least)
        axes = figure.subplots(lines, beside, squeeze=False)
        for row, model in zip(axes.reshape(len(models), columns), models, strict=True):
            for ax, (_, facet) in zip(row, values[values["model"] == model].groupby("level"), strict=False):
                _panel(ax, facet, full() / beside - 0.8 - 0.3 * (beside == 1))
            if len(models) > 1:  # above the context, on a line of its own
                row[0].set_title(f"{model}\n{row[0].get_title('left')}", loc="left", fontsize="small")
        for ax in axes[-1]:
            ax.set_xlabel("Probability;\nderivative by the logit")
        dots = [
            Line2D(
                [], [], color=look.colour, marker=look.marker, linestyle="", label=f"∂{look.label} / ∂logit"
            )
            for look in DRAWN.values()
        ]
        bars = Patch(color=BARS, label="Probability")
        legend(figure, [bars, *dots], "Bold: the next token of the text", least)
        return figure


def _panel(ax: Axes, facet: pd.DataFrame, room: float) -> None:
    ys = np.arange(len(facet))
    ax.barh(ys, facet["probability"], color=BARS, height=0.7)
    for method, look in DRAWN.items():
        ax.plot(facet[f"{method}_gradient"], ys, color=look.colour, marker=look.marker, linestyle="", **EDGE)
    ax.axvline(0, color=GREY, linewidth=0.6)
    ax.grid(axis="x")
    ax.grid(False, axis="y")
    names = [_cut(token.replace(" ", "␣")) for token in facet["token"]]
    ax.set(xlim=(-1.05, 1.05), yticks=ys, yticklabels=names)
    for label, is_target in zip(ax.get_yticklabels(), facet["is_target"], strict=True):
        label.set_fontweight("bold" if is_target else "normal")
    ax.invert_yaxis()
    most = int(room / inches("n"))
    # A letter may become its code, which is longer; and half of an escaped dollar may be left.
    context = _literal(facet["context"].iloc[0][-most:])[-most:].removeprefix("$")
    ax.set_title(f"…{context}\nH = {facet['entropy'].iloc[0]:.1f} nats", loc="left", fontsize="small")


def _cut(text: str) -> str:
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
