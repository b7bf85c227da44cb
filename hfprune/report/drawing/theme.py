"""The theme of all figures: seaborn's ticks, with a faint grid, for print."""

from typing import Any

import seaborn

RC: dict[str, Any] = {
    **seaborn.axes_style("ticks"),
    "axes.edgecolor": "#4D4D4D",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelsize": "medium",
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.dpi": 100,
    # The one font that comes with matplotlib, so that every machine draws the same.
    "font.family": "DejaVu Sans",
    # In words where they may, other sizes follow this one, in a user's style too.
    "font.size": 8,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "legend.fontsize": "small",
    "legend.frameon": False,
    "legend.title_fontsize": "small",
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
    "svg.hashsalt": "hfprune",
    "xtick.color": "#4D4D4D",
    "xtick.labelcolor": "black",
    "xtick.labelsize": "small",
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.color": "#4D4D4D",
    "ytick.labelcolor": "black",
    "ytick.labelsize": "small",
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}
