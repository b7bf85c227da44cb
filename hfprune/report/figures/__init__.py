"""The figures, made from the tables that `collect`, `claims` and `compare` wrote, as PDF, SVG and PNG."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from hfprune.files import atomic_file
from hfprune.report.figures.collected import Collected
from hfprune.report.figures.forests import claims, comparison
from hfprune.report.figures.importance import agreement, distributions, neurons, overlap, scores
from hfprune.report.figures.measures import measures
from hfprune.report.figures.outcomes import accuracy, calibration, fidelity, published, tasks
from hfprune.report.figures.theme import RC
from hfprune.report.figures.tradeoff import quality_against_speed
from hfprune.study import layout

# The name of a figure's files → the function that draws it.
DRAWINGS: dict[str, Callable[[Collected], Figure]] = dict(
    zip(
        layout.FIGURES,
        (
            *(accuracy, published, fidelity, tasks, measures, overlap, agreement),
            *(scores, neurons, distributions, calibration, claims, comparison, quality_against_speed),
        ),
        strict=True,
    )
)

# No dates, so the same input gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(folder: Path, paper: Path, out: Path) -> None:
    """Write every figure of `DRAWINGS` as `<name>.pdf`, `.svg` and `.png`; one without data says so.

    Args:
        folder: the output of `hfprune.analysis.collect.collect`.
        paper: folder of the published tables.
        out: folder, created if missing.

    Raises:
        HfpruneError: a table in `folder` is missing, or a task has no metric that the paper's rule knows.
    """
    data = Collected.read(folder, paper)
    for name, draw in DRAWINGS.items():
        # Defaults first: a user's matplotlibrc must not change the figures.
        with style.context(["default", RC]):
            figure = draw(data)
            _settle(figure)
            for suffix, metadata in _METADATA.items():
                with atomic_file(out / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix, metadata=metadata)


def _settle(figure: Figure) -> None:
    """Lay a figure out once, to a millionth of its size.

    The solver of the layout adds up in an order that differs between runs, and SVG's names of clip paths depend on
    the last digit.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = (round(x, 6) for x in ax.get_position().bounds)
        ax.set_position((left, bottom, width, height))
