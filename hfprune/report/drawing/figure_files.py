"""Figures as PDF, SVG and PNG, in one theme or over it in a user's style."""

import re
from collections.abc import Collection, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib import rcParams
from matplotlib.figure import Figure

from hfprune.errors import REASON, HfpruneError, explained, nearest, reading
from hfprune.files import atomic_file
from hfprune.report.drawing.panels import sheet, theme
from hfprune.report.looks import with_model_labels
from hfprune.report.publication import FIGURES, absent, publication_names
from hfprune.results.reader import Results

# No dates, so the same input gives the same bytes.
_METADATA: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(
    folder: Path,
    paper: Path,
    out: Path,
    only: Collection[str] | None = None,
    formats: Collection[str] = ("pdf", "svg", "png"),
    own_style: Path | None = None,
    complete: bool = False,
    parts: Mapping[str, Collection[Any]] | None = None,
    width: float | None = None,
) -> dict[str, str]:
    """Write figures as `<name>.pdf`, `.svg` and `.png`, and return the names that were not drawn, with the reason.

    A figure without data is not drawn, and a file of an earlier call stays as it is.
    """
    over = read_style(own_style) if own_style else {}
    data = Results(folder, paper, parts)
    lacking = absent("figures", folder, only)
    why = {name: f"{folder} has no {' and no '.join(files)}" for name, files in lacking.items()}
    for name in [name for name in only or publication_names("figures") if name not in lacking]:
        with theme(over):
            page = rcParams["figure.figsize"][1]
            rcParams["figure.figsize"] = (width or rcParams["figure.figsize"][0], page)
            figure = make_figure(name, data)
            if isinstance(figure, str):
                why[name] = figure
                if not complete:
                    continue
                figure = sheet([("", [figure])])
            fix_layout(figure)
            if figure.get_figheight() > page:
                taller = f"{figure.get_figheight():.1f} inches tall, where a page has {page:.3g}"
                taller += "; draw a part of it by --models, --methods or --ratios"
                if width:  # for a page of print, on which it would not fit
                    why[name] = taller
                    continue
                print(f"{name}: {taller}")
            for suffix in formats:
                with atomic_file(out / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix, metadata=_METADATA[suffix])
    return why


def make_figure(name: str, data: Results) -> Figure | str:
    """Return a figure in the current style, or the sentence that replaces it if there are no values."""
    publication = FIGURES.load(name)()
    values = publication.values(data)
    return publication.empty if values.empty else publication.draw(with_model_labels(values), data)


def embedded_svg(name: str, data: Results) -> tuple[str, pd.DataFrame] | None:
    """Return a figure as an HTML element with unique ids, and its values; None if there are no values."""
    publication = FIGURES.load(name)()
    values = publication.values(data)
    if values.empty:
        return None
    with theme():
        figure = publication.draw(with_model_labels(values), data)
        fix_layout(figure)
        svg = svg_text(figure, "Date", "Creator", "Format", "Type")
    return re.sub(
        r'(\bid="|href="#|url\(#)', rf"\1{data.folder.name}-{name}-", svg[svg.index("<svg") :]
    ), values


def svg_text(figure: Figure, *without: str) -> str:
    """Return a figure as SVG without these entries of its metadata."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(without))
    return text.getvalue()


def read_style(path: Path) -> dict[str, object]:
    """Read a style file of matplotlib; a mistake in it is an error, where matplotlib itself only warns."""
    with reading(path), explained(f"{path}: not a style file of matplotlib: {REASON}", UnicodeDecodeError):
        lines = path.read_text(encoding="utf-8").splitlines()
    names = [*map(str, matplotlib.rcParams)]
    for number, line in enumerate(lines, 1):
        key = line.partition("#")[0].partition(":")[0].strip()
        if key and key not in names:
            near = nearest(key, names, otherwise="")
            raise HfpruneError(f"{path}, line {number}: matplotlib has no setting {key!r}{near}")
    with explained(f"{path}: {REASON}", ValueError):
        style_file = matplotlib.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    settings: dict[str, object] = {str(key): value for key, value in style_file.items()}
    if settings.get("text.usetex"):
        raise HfpruneError(
            f"{path}: text.usetex is not supported, since labels are no TeX; set font.family and mathtext.fontset"
        )
    return settings


def fix_layout(figure: Figure) -> None:
    """Lay a figure out once, to a millionth of its size.

    The solver of the layout adds up in an order that differs between runs, and SVG's names of clip paths
    depend on the last digit.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = (round(x, 6) for x in ax.get_position().bounds)
        ax.set_position((left, bottom, width, height))
