"""The page in one picture, for a phone: verdicts counted, and the effects on the outputs by model."""

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from findings.cited import Cited
from findings.claims import Decided
from findings.forest import LEGEND, STYLE, forest, short_svg
from hfprune.effects.condition import VERDICTS
from hfprune.report.drawing.marks import draw
from hfprune.report.drawing.panels import legend, theme
from hfprune.report.style import VERDICT_LOOKS

# The claims on outputs, each with a title and the meanings of the two sides of no effect.
OUTPUTS = {
    "lower-js-distance": ("Distance to the dense model's outputs", "entropy closer", "cross-entropy closer"),
    "higher-jaccard": ("Most likely tokens kept (Jaccard index)", "cross-entropy more", "entropy more"),
}
LARGER = {
    "font.size": 10,
    "lines.linewidth": 1.5,
    "lines.markersize": 6,
    "xtick.labelsize": "medium",
    "ytick.labelsize": "medium",
}
OTHERS = "#DDDDDD"  # the colour of verdicts that no figure of a study draws


def summary(decided: Decided, beside: Mapping[str, Sequence[Cited]]) -> tuple[str, str]:
    """Return the words for the picture, and its SVG; `beside` are, by claim, effects below the claim's own."""
    with theme(STYLE | LARGER):
        figure = Figure(figsize=(5.2, 6.4), layout="constrained")
        counts, *outputs = figure.subplots(3, height_ratios=[1.5, 1, 1])
        _counted(counts, Counter(row.verdict for row in decided.all))
        for axis, (claim, titles) in zip(outputs, OUTPUTS.items(), strict=True):
            _effects(axis, [*decided.rows[claim], *beside.get(claim, [])], *titles)
        legend(figure, [], LEGEND)
        svg = short_svg(figure)
    words = "Number of verdicts, and entropy minus cross-entropy on each model"
    return words, svg


def _counted(axis: Axes, counts: Counter[str]) -> None:
    names = [verdict for verdict in VERDICTS if counts[verdict]]
    colours = [VERDICT_LOOKS[name].colour if name in VERDICT_LOOKS else OTHERS for name in names]
    bars = axis.barh(range(len(names)), [counts[name] for name in names], color=colours)
    axis.bar_label(bars, padding=3)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.tick_params("y", length=0)
    axis.xaxis.set_visible(False)
    axis.grid(visible=False)
    axis.spines["bottom"].set_visible(False)
    axis.set_title("Verdicts, one per claim, model and ratio", loc="left", fontweight="bold")


def _effects(axis: Axes, rows: list[Cited], title: str, below: str, above: str) -> None:
    lines = ((row.name, row.effect, row.effect.sure) for row in rows)
    draw(axis, forest(lines, f"← {below}   ·   {above} →"))
    axis.set_title(title, loc="left", fontweight="bold")
