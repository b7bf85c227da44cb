"""Numbers with the key of their column, laid out in the rows of a table."""

from typing import Any

import numpy as np
import pandas as pd

from hfprune.paper.published import CONFIDENT, Published
from hfprune.report.columns import Column
from hfprune.report.style import looks, method_label
from hfprune.report.typeset import MISSING, mark
from hfprune.results import DENSE

OURS, PAPER = "ours", "paper"
ROW = ["model", "method", "ratio", "recovery", "source"]  # identifies a row of a table
GROUP = ["model", "ratio", "recovery", "source"]  # the best row of a group is marked
# Meaning of ± → the spreads after a number, and their formats.
SPREADS = {"stderr": {"stderr": " ± {}"}, "sd": {"sd": " ± {}", "stderr": " ({})"}}


def in_order(cells: pd.DataFrame, published: Published) -> pd.DataFrame:
    """Sort by model (the paper's first), ratio, recovery (none first), method and source, and number the rows."""
    models = {name: i for i, name in enumerate(published.names.values())}
    ranks = {
        "model": lambda names: names.map(lambda name: (models.get(name, len(models)), name)),
        "recovery": lambda names: names.map(lambda name: (name != "none", name)),
        "method": lambda names: names.map([*looks(names)].index),
        "source": lambda names: names.map([PAPER, OURS].index),
    }
    cells = cells.sort_values(
        ["model", "ratio", "recovery", "method", "source"],
        key=lambda part: ranks[part.name](part) if part.name in ranks else part,
    )
    return cells.assign(row=cells.groupby(ROW, dropna=False, sort=False).ngroup())


def lay_out(
    cells: pd.DataFrame, columns: dict[str, Column], spreads: dict[str, str], footnotes: dict[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return numbers, strings and groups of rows, from cells whose `row` and `key` give their place."""
    rows = cells.drop_duplicates("row").set_index("row")[ROW]
    parts = cells.set_index(["row", "key"])[["value", "printed", "confidence", *spreads]].unstack()
    numbers, shown = rows.copy(), _row_heads(rows)
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


def _row_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the left columns as shown."""
    names = looks(rows["method"])
    shown = pd.DataFrame(index=rows.index)
    if rows["ratio"].notna().any():
        shown["Ratio"] = [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]]
    shown["Method"] = [
        method_label(names[method], recovery)
        for method, recovery in zip(rows["method"], rows["recovery"], strict=True)
    ]
    shown["Source"] = rows["source"]
    return shown


def _best(cell: pd.DataFrame, column: Column, rows: pd.DataFrame) -> pd.Series:
    """Mark the best of at least two pruned methods in each group, ties included; never a suspect number."""
    if column.penalty is None:
        return pd.Series(False, cell.index)
    suspect = cell["confidence"].str.startswith("suspect").fillna(False).astype(bool)
    penalty = column.penalty(cell["value"].where((rows["method"] != DENSE) & ~suspect))
    in_group = penalty.groupby([rows[part] for part in GROUP], dropna=False)
    return pd.Series(np.isclose(penalty, in_group.transform("min"))).set_axis(cell.index) & (
        in_group.transform("count") > 1
    )


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
