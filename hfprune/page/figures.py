"""The figures of a study, as `hfprune figures` draws them, each with its values in a table."""

from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from hfprune.page.study import StudyResults
from hfprune.report.drawing.writing import embedded_svg
from hfprune.report.publication import FIGURES, absent, caption, publication_names

MOST = 500  # rows of a table below a figure; the values of a larger one are in its file alone


def read_all(study: StudyResults) -> dict[str, dict[str, Any]]:
    """Return what the template shows of each figure by name: its caption, the SVG, and its table."""
    found = {}
    without = absent("figures", study.data.folder)
    for name in [name for name in publication_names("figures") if name not in without]:
        if drawn := embedded_svg(name, study.data):
            svg, values = drawn
            words = caption("figures", name)
            values = values.dropna(axis=1, how="all")
            found[name] = {
                "caption": words,
                "svg": Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(words)}" ', 1)),
                "headings": [str(column).replace("_", " ").capitalize() for column in values],
                "rows": _texts(values, study) if len(values) <= MOST else [],
                "count": len(values),
                "file": next(iter(FIGURES.load(name).reads), "results.csv"),
            }
    return found


def _texts(values: pd.DataFrame, study: StudyResults) -> list[list[str]]:
    labels = {method: look.label for method, look in study.data.looks.items()}
    shown = values.replace({name: labels for name in ("method", "reference") if name in values})
    return [
        ["" if pd.isna(x) else f"{x:.4g}" if isinstance(x, float) else str(x) for x in row]
        for row in shown.astype(object).to_numpy().tolist()
    ]
