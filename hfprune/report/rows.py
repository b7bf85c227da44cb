"""Numbers with the key of their column, laid out in the rows of a table."""

from typing import Any

import numpy as np
import pandas as pd

from hfprune.analysis.averages import half_width
from hfprune.paper.published import CONFIDENT, Published
from hfprune.report.columns import Column
from hfprune.report.intervals import ends
from hfprune.report.style import Look, method_label
from hfprune.report.typeset import MISSING, mark
from hfprune.results import DENSE

OURS, PAPER = "ours", "paper"
ROW = ["model", "method", "ratio", "recovery", "source"]  # identifies a row of a table
GROUP = ["model", "ratio", "recovery", "source"]  # the best row of a group is marked
# Meaning of ± → the spreads after a number, and their formats.
SPREADS = {"stderr": {"stderr": " ± {}"}, "sd": {"sd": " ± {}", "stderr": " ({})"}}


def in_order(cells: pd.DataFrame, published: Published, looks: dict[str, Look]) -> pd.DataFrame:
    """Sort by model (the paper's first), ratio, recovery (none first), method and source, and number the rows."""
    models = {name: i for i, name in enumerate(published.names.values())}
    ranks = {
        "model": lambda names: names.map(lambda name: (models.get(name, len(models)), name)),
        "recovery": lambda names: names.map(lambda name: (name != "none", name)),
        "method": lambda names: names.map([*looks].index),
        "source": lambda names: names.map([PAPER, OURS].index),
    }
    cells = cells.sort_values(
        ["model", "ratio", "recovery", "method", "source"],
        key=lambda part: ranks[part.name](part) if part.name in ranks else part,
    )
    return cells.assign(row=cells.groupby(ROW, dropna=False, sort=False).ngroup())


def lay_out(
    cells: pd.DataFrame,
    columns: dict[str, Column],
    spreads: dict[str, str],
    footnotes: dict[str, str],
    looks: dict[str, Look],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return numbers, strings and groups of rows, from cells whose `row` and `key` give their place."""
    rows = cells.drop_duplicates("row").set_index("row")[ROW]
    cells = cells.assign(half=half_width(cells))
    parts = cells.set_index(["row", "key"])[["value", "half", "printed", "confidence", *spreads]].unstack()
    numbers, shown = rows.copy(), _row_heads(rows, looks)
    for key, column in columns.items():
        cell = parts.xs(key, axis=1, level="key")
        numbers[key] = cell["value"]
        for width in spreads:
            if cell[width].notna().any():
                numbers[f"{key}_{width}"] = cell[width]
        best = _best(cell, column, rows)
        shown[column.heading] = [
            _cell(column, spreads, footnotes, *line)
            for line in zip(cell.to_dict("records"), best, strict=True)
        ]
    doubted = cells[cells["confidence"].isin(footnotes)]
    doubts = (doubted["key"] + ": " + doubted["confidence"]).groupby(doubted["row"]).agg("; ".join)
    numbers["doubts"] = doubts.reindex(numbers.index).fillna("")
    return numbers, shown, rows.groupby(["model", "ratio"], dropna=False, sort=False).ngroup()


def _row_heads(rows: pd.DataFrame, looks: dict[str, Look]) -> pd.DataFrame:
    """Return the left columns as shown."""
    shown = pd.DataFrame(index=rows.index)
    if rows["ratio"].notna().any():
        shown["Ratio"] = [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]]
    shown["Method"] = [
        method_label(looks[method], recovery)
        for method, recovery in zip(rows["method"], rows["recovery"], strict=True)
    ]
    shown["Source"] = rows["source"]
    return shown


def _best(cell: pd.DataFrame, column: Column, rows: pd.DataFrame) -> pd.Series:
    """Mark the best pruned method of each group if its 95 % interval ends before any other's begins.

    Published numbers have no interval, and so none of them is marked.
    """
    best = pd.Series(False, cell.index)
    if column.penalty is None:
        return best
    pruned = cell[(rows["method"] != DENSE) & cell["value"].notna()]
    for _, group in pruned.groupby([rows.loc[pruned.index, part] for part in GROUP], dropna=False):
        least, most = _penalties(group, column)
        first = most.idxmin() if most.notna().all() and len(group) > 1 else None
        if first is not None:
            best[first] = bool(most[first] < least.drop(first).min())
    return best


def _penalties(cell: pd.DataFrame, column: Column) -> tuple[pd.Series, pd.Series]:
    """Return the ends of the intervals of a column's penalty."""
    assert column.penalty is not None
    if column.logarithmic:  # better the lower, or the higher, throughout
        both = [column.penalty(end) for end in ends(cell["value"], cell["half"], logarithmic=True)]
        return np.minimum(*both), np.maximum(*both)
    penalty = column.penalty(cell["value"])
    return penalty - cell["half"], penalty + cell["half"]


def _cell(
    column: Column, spreads: dict[str, str], footnotes: dict[str, str], cell: dict[str, Any], best: bool
) -> str:
    if pd.isna(cell["value"]):
        return MISSING
    text = column.shown.format(cell["value"]) if pd.isna(cell["printed"]) else cell["printed"]
    for width, sign in spreads.items() if column.with_spread else ():
        if not pd.isna(cell[width]):
            text += sign.format(column.shown.format(cell[width]))
    return (f"**{text}**" if best else text) + footnotes.get(cell["confidence"], "")


def footnotes_of(cells: pd.DataFrame) -> dict[str, str]:
    """Return the doubts about published numbers, e.g. `suspect: A07`, and the mark of each."""
    confidences = cells.loc[cells["source"] == PAPER, "confidence"].dropna().drop_duplicates()
    doubts = confidences[confidences != CONFIDENT]
    return {confidence: mark(i) for i, confidence in enumerate(doubts)}


def with_blanks(ours: pd.DataFrame, blanks: pd.DataFrame) -> pd.DataFrame:
    """Add a row without numbers for every model, method, ratio and recovery of `blanks`."""
    if ours.empty or blanks.empty:
        return ours
    added = blanks.assign(source=OURS, key=ours["key"].iloc[0])
    return pd.concat([ours, added], ignore_index=True)
