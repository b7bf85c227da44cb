"""The figures, made from the tables that `collect`, `claims` and `compare` wrote, as PDF, SVG and PNG."""

import difflib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import style
from matplotlib.figure import Figure

from hfprune.analysis.tidy import (
    CALIBRATION,
    LEARNING,
    NEURON_SCORES,
    OVERLAP,
    QUANTILES,
    RANKS,
    TOKEN_DISTRIBUTIONS,
    brief,
)
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.report.collected import Collected
from hfprune.report.figures.forests import claims, comparison
from hfprune.report.figures.importance import agreement, distributions, neurons, overlap, scores
from hfprune.report.figures.learning import learning
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
            *(
                scores,
                neurons,
                distributions,
                calibration,
                learning,
                claims,
                comparison,
                quality_against_speed,
            ),
        ),
        strict=True,
    )
)
# The tables that a figure needs beside the tidy one.
NEEDS = {
    "overlap": (OVERLAP,),
    "agreement": (RANKS, OVERLAP),
    "scores": (QUANTILES,),
    "neurons": (NEURON_SCORES,),
    "distributions": (TOKEN_DISTRIBUTIONS,),
    "calibration": (CALIBRATION,),
    "learning": (LEARNING,),
    "claims": (layout.CLAIMS,),
    "comparison": (layout.COMPARISON,),
}

# No dates, so the same input gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(
    folder: Path,
    paper: Path,
    out: Path,
    only: Collection[str] | None = None,
    formats: Collection[str] = ("pdf", "svg", "png"),
    own_style: Path | None = None,
) -> dict[str, list[str]]:
    """Write figures of `DRAWINGS` as `<name>.pdf`, `.svg` and `.png`.

    A figure of a table without rows says so. One whose table was not kept in `folder` is not drawn: a file of an
    earlier call stays as it is.

    Args:
        folder: the output of `hfprune.analysis.collect.collect`; of tables in two forms, the CSV is enough.
        paper: folder of the published tables.
        out: folder, created if missing.
        only: names of `DRAWINGS`; by default all.
        formats: suffixes of the files of each figure.
        own_style: a style file of matplotlib, over the theme of all figures.

    Returns:
        The names that were not drawn, with the tables that they lack.

    Raises:
        HfpruneError: a table in `folder` or the style cannot be read; a task has no metric that the paper's rule
            knows; or a figure that `only` names lacks its table.
    """
    over = read_style(own_style) if own_style else {}
    data = Collected(folder, paper)
    absent = {
        name: lacking
        for name in only or DRAWINGS
        if (lacking := [file for file in NEEDS.get(name, ()) if not (folder / file).exists()])
    }
    if only and absent:
        name, files = next(iter(absent.items()))
        raise HfpruneError(f"{folder}: no {' and no '.join(files)}, which the figure {name} needs")
    for name in [name for name in only or DRAWINGS if name not in absent]:
        # Defaults first: a user's matplotlibrc must not change the figures.
        with style.context(["default", RC, over]):
            figure = DRAWINGS[name](data)
            settle(figure)
            for suffix in formats:
                with atomic_file(out / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix, metadata=_METADATA[suffix])
    return absent


def read_style(path: Path) -> dict[str, Any]:
    """Read a style file of matplotlib; a mistake in it is an error, which matplotlib itself only warns of.

    Raises:
        HfpruneError: the file cannot be read, or has an unknown key or a value that does not fit.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise HfpruneError(f"{path}: cannot read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HfpruneError(f"{path}: not a style file of matplotlib: {brief(error)}") from error
    known = [*map(str, matplotlib.rcParams)]
    for number, line in enumerate(lines, 1):
        key = line.partition("#")[0].partition(":")[0].strip()
        if key and key not in known:
            near = [f"; did you mean {word!r}?" for word in difflib.get_close_matches(key, known, n=1)]
            raise HfpruneError(f"{path}, line {number}: matplotlib has no setting {key!r}{''.join(near)}")
    try:
        style_file = matplotlib.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except ValueError as error:
        raise HfpruneError(f"{path}: {brief(error)}") from error
    found: dict[str, Any] = {str(key): value for key, value in style_file.items()}
    if found.get("text.usetex"):
        raise HfpruneError(
            f"{path}: text.usetex is not supported, since labels are no TeX; set font.family and mathtext.fontset"
        )
    return found


def settle(figure: Figure) -> None:
    """Lay a figure out once, to a millionth of its size.

    The solver of the layout adds up in an order that differs between runs, and SVG's names of clip paths depend on
    the last digit.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = (round(x, 6) for x in ax.get_position().bounds)
        ax.set_position((left, bottom, width, height))
