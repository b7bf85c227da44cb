"""The page in one picture, for a phone: verdicts counted, and the effects on the outputs by model."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from findings.cited import Cited
from findings.claims import Decided
from findings.forest import LOOK, NOT_SHOWN, SHOWN, with_short_numbers
from hfprune.analysis.condition import VERDICTS
from hfprune.report.style import VERDICT_LOOKS

# The claims on outputs, with a title and what lies on each side of no effect.
OUTPUTS = {
    "lower-js-distance": ("Distance to the dense model's outputs", "entropy closer", "cross-entropy closer"),
    "higher-jaccard": ("Likeliest tokens kept (Jaccard index)", "cross-entropy more", "entropy more"),
}
OTHERS = "#DDDDDD"  # of verdicts that no figure of a study draws


def summary(decided: Decided, beside: Mapping[str, Sequence[Cited]]) -> tuple[str, str]:
    """Return the words for the picture, and it as SVG; `beside` has, by claim, effects below its own."""
    with rc_context(LOOK | {"font.size": 10}):
        figure = Figure(figsize=(5.2, 6.4), layout="constrained")
        counts, *outputs = figure.subplots(3, height_ratios=[1.5, 1, 1])
        _counted(counts, Counter(row.verdict for row in decided.all))
        for axis, (claim, words) in zip(outputs, OUTPUTS.items(), strict=True):
            _effects(axis, [*decided.rows[claim], *beside.get(claim, [])], *words)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    said = (
        "Verdicts on the paper's claims, counted, and entropy against cross-entropy in the outputs, by model"
    )
    return said, with_short_numbers(text.getvalue())


def _counted(axis: Axes, found: Counter[str]) -> None:
    names = [verdict for verdict in VERDICTS if found[verdict]]
    colours = [VERDICT_LOOKS[name].colour if name in VERDICT_LOOKS else OTHERS for name in names]
    bars = axis.barh(range(len(names)), [found[name] for name in names], color=colours)
    axis.bar_label(bars, padding=3)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.tick_params("y", length=0)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    axis.set_title("Verdicts, one a claim, model and ratio", loc="left", fontweight="bold")


def _effects(axis: Axes, rows: list[Cited], title: str, below: str, above: str) -> None:
    axis.axvline(0, color="#aaaaaa", linewidth=0.8)
    for place, one in enumerate(rows):
        effect = one.effect
        colour, full = (SHOWN, SHOWN) if effect.sure else (NOT_SHOWN, "white")
        axis.plot([effect.low, effect.high], [place] * 2, color=colour, linewidth=1.5)
        axis.plot([effect.value], [place], "o", color=colour, markerfacecolor=full)
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params("y", length=0)
    axis.locator_params("x", nbins=4)
    axis.set_title(title, loc="left", fontweight="bold")
    axis.set_xlabel(f"← {below}   ·   {above} →")
