"""The figures, made from what `collect` wrote and from nothing else, as PDF, SVG and PNG."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from hfprune import layout
from hfprune.analysis.figures.collected import Collected
from hfprune.analysis.figures.forests import claims, comparison
from hfprune.analysis.figures.importance import agreement, distributions, neurons, overlap, scores
from hfprune.analysis.figures.outcomes import accuracy, calibration, fidelity, published, tasks
from hfprune.analysis.style import RC
from hfprune.files import atomic_file

# The name of a figure's files, and what draws it.
FIGURES: dict[str, Callable[[Collected], Figure]] = dict(
    zip(
        layout.FIGURES,
        (
            *(accuracy, published, fidelity, tasks, overlap, agreement),
            *(scores, neurons, distributions, calibration, claims, comparison),
        ),
        strict=True,
    )
)

# Without these dates the same input gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(folder: Path, paper: Path, out: Path) -> None:
    """Write every figure of `FIGURES` as `<name>.pdf`, `.svg` and `.png`; what is missing is said in the figure.

    Args:
        folder: what `hfprune.analysis.collect.collect` wrote.
        paper: folder of the published tables.
        out: folder, created where missing.

    Raises:
        HfpruneError: a table in `folder` is missing, or a task has no metric that the paper's rule knows.
    """
    data = Collected.read(folder, paper)
    for name, draw in FIGURES.items():
        # Defaults first: a user's matplotlibrc must not change the figures.
        with style.context(["default", RC]):
            figure = draw(data)
            for suffix, metadata in _METADATA.items():
                with atomic_file(out / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix, metadata=metadata)
