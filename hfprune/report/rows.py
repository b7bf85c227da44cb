"""Numbers with the key of their column, laid out in the rows of a table, and the notes below it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from hfprune.assets.known_tasks import CROWS
from hfprune.cells import DENSE
from hfprune.paper.printed import AVERAGE, CONFIDENT
from hfprune.paper.relations import Paper
from hfprune.report.cells import OURS, PAPER
from hfprune.report.typeset import MISSING, Column, mark
from hfprune.results.averages import error_column
from hfprune.rounding import rounded

ROW = ["model", "calibrated", "method", "ratio", "recovery", "source"]  # identifies a row of a table
ORDER = ["model", "ratio", "recovery", "calibrated", "method", "source"]
GROUP = ["model", "calibrated", "ratio", "recovery", "source"]  # the best row of a group is marked
# Meaning of ± → the errors after a number, and their formats.
ERRORS = {"stderr": {"stderr": " ± {}"}, "sd": {"sd": " ± {}", "stderr": " ({})"}}


@dataclass(frozen=True)
class CellForm:
    """How the numbers of a key are shown: their heading and format, and which is the best of a group.

    `half` means percentages that are best at 50; among numbers without a direction, none is the best.
    """

    heading: str
    shown: str = "{:.1f}"
    better: Literal["lower", "higher", "half", ""] = ""
    with_error: bool = True


def lay_out(
    cells: pd.DataFrame, forms: Mapping[str, CellForm], footnotes: Mapping[str, str]
) -> tuple[pd.DataFrame, list[Column]]:
    """Return the numbers of a table, and the columns of its keys.

    Args:
        cells: rows of `hfprune.results.averages.levels` in order, with the columns `source`, `key`, `printed`
            (a published number as printed) and `confidence`.
        forms: how the numbers of each key are shown, in the order of columns.
        footnotes: the mark of each doubt (`footnotes_of`).
    """
    cells = cells.fillna({"calibrated": ""})
    row = cells.groupby(ROW, dropna=False, sort=False).ngroup()
    signs, cells = ERRORS[error_column(cells)], cells.assign(row=row)
    rows = cells.drop_duplicates("row").set_index("row")[ROW]
    shown = ["value", "low", "high", "printed", "confidence", *signs]
    parts = cells.set_index(["row", "key"])[shown].unstack()
    numbers, columns = rows.copy(), []
    for key, form in forms.items():
        cell = parts.xs(key, axis=1, level="key")
        numbers[key] = cell["value"]
        for width in signs:
            if cell[width].notna().any():
                numbers[f"{key}_{width}"] = cell[width]
        lines = zip(cell.itertuples(), _best(cell, form, rows), strict=True)
        columns.append(Column(form.heading, [_text(form, signs, footnotes, *line) for line in lines]))
    doubted = cells[cells["confidence"].isin(footnotes)]
    doubts = (doubted["key"] + ": " + doubted["confidence"]).groupby(doubted["row"]).agg("; ".join)
    numbers["doubts"] = doubts.reindex(numbers.index).fillna("")
    return numbers, columns


def _best(cell: pd.DataFrame, form: CellForm, rows: pd.DataFrame) -> pd.Series:
    """Mark the best pruned method of each group if its 95 % interval ends before any other's begins.

    Published numbers have no interval, so none of them is marked.
    """
    best = pd.Series(False, cell.index)
    if not form.better:
        return best
    pruned = cell[(rows["method"] != DENSE) & cell["value"].notna()]
    for _, group in pruned.groupby([rows.loc[pruned.index, part] for part in GROUP], dropna=False):
        least, most = _penalties(group, form)
        first = most.idxmin() if most.notna().all() and len(group) > 1 else None
        if first is not None:
            best[first] = bool(most[first] < least.drop(first).min())
    return best


def _penalties(cell: pd.DataFrame, form: CellForm) -> tuple[pd.Series, pd.Series]:
    """Return the ends of the intervals of a penalty, which is smallest for the best number."""
    if form.better == "half":
        distance, half = (cell["value"] - 50).abs(), (cell["high"] - cell["low"]) / 2
        return distance - half, distance + half
    low, high = cell["low"], cell["high"]
    return (-high, -low) if form.better == "higher" else (low, high)


def _text(
    form: CellForm, signs: Mapping[str, str], footnotes: Mapping[str, str], cell: Any, best: bool
) -> str:
    if pd.isna(cell.value):
        return MISSING
    widths = {sign: getattr(cell, width) for width, sign in signs.items() if form.with_error}
    errors = {sign: width for sign, width in widths.items() if width >= 0}
    doubt = max(errors.values(), default=None)
    text = rounded(form.shown, cell.value, doubt) if pd.isna(cell.printed) else cell.printed
    for sign, error in errors.items():
        text += sign.format(rounded(form.shown, error, error))
    return (f"**{text}**" if best else text) + footnotes.get(cell.confidence, "")


def footnotes_of(cells: pd.DataFrame) -> dict[str, str]:
    """Return a mark for each doubt that the published numbers among the cells carry."""
    confidences = cells.loc[cells["source"] == PAPER, "confidence"].dropna().drop_duplicates()
    doubts = confidences[confidences != CONFIDENT]
    return {confidence: mark(i) for i, confidence in enumerate(doubts)}


def with_blanks(ours: pd.DataFrame, blanks: pd.DataFrame, keys: Collection[str]) -> pd.DataFrame:
    """Return our cells, and for each cell that is not applicable an empty number under the first key shown."""
    shown = [key for key in keys if key in {*ours["key"]}]
    if not shown or blanks.empty:
        return ours
    return pd.concat([ours, blanks.assign(source=OURS, key=shown[0])], ignore_index=True)


def source_notes(columns: list[Column], cells: pd.DataFrame, names: dict[str, str]) -> list[str]:
    """Return notes on the sources of rows and on what ours lack, then those of `mark_notes`."""
    ours = cells[cells["source"] == OURS]
    legend = ["Source: paper, as printed there; ours, measured in this study."]
    present = set(ours["model"])
    legend += [f"{model} is {name} in this study." for name, model in names.items() if model in present]
    if ours.empty:
        legend.append("Ours: not measured.")
    elif set(ours["method"][ours["measure"].notna()]) == {DENSE}:
        legend.append("Ours: no pruned model under the conditions of this table was measured.")
    return [*legend, *mark_notes(columns, ours)]


def mark_notes(columns: list[Column], ours: pd.DataFrame) -> list[str]:
    """Return notes that explain ±, bold and `MISSING`, each only if a column contains it."""
    legend = []
    text = " ".join(cell for column in columns for cell in column.cells)
    if "±" in text:
        draws = ours.loc[ours["draws"] > 1, "draws"].astype(int)
        over = (
            f"standard deviation over {span(draws)} draws, and in brackets standard error over items"
            if len(draws)
            else "standard error over items, one draw"
        )
        legend.append(f"±: {over}; for single tasks, see the CSV.")
    if "**" in text:
        legend.append(
            "Bold: best pruned method with the same source, calibration, ratio and recovery, if its 95 % interval "
            "does not overlap any other."
        )
    if MISSING in text:
        legend.append(f"{MISSING}: not printed in the paper, not measured, or not applicable.")
    return legend


def averages(ours: pd.DataFrame, theirs: pd.DataFrame, published: Paper, zeroshot: str) -> list[str]:
    """Return notes on the items and tasks of averages, and on what prevents comparing them with the paper's."""
    notes = []
    scores = ours[(ours["measure"] == zeroshot) & (ours["metric"] != AVERAGE)]
    if len(scores):
        notes.append(f"Items per task in ours: {span(scores['n'])}.")
        pruned = scores[scores["method"] != DENSE]
        if len(pruned) and not (pruned["draws"] > 1).any():
            notes.append(
                "Ours are from one calibration draw, too few to compare methods. The table `lost` has paired "
                "differences from the dense model."
            )
        # A table that prints no tasks averages the tasks of the other tables.
        tables = [{*rows["task"]} - {"", AVERAGE} for rows in (theirs, published.numbers)]
        printed = next(filter(None, tables))
        if {*scores["task"]} != printed:
            notes.append(
                f"Averages are not comparable across sources: over {scores['task'].nunique()} tasks in ours and "
                f"{len(printed)} in the paper's."
            )
    if CROWS in {*ours["metric"], *theirs["metric"]}:
        notes.append(
            "Crows: share of stereotypes, ideally 50; Average counts it as an accuracy, as the paper does."
        )
    return notes


def corpora(texts: pd.DataFrame) -> list[str]:
    """Return a note with the number of items, n, for each measure of texts and its corpus."""
    return [
        f"{measure.capitalize()} on {corpus} in ours: n = {span(n)}."
        for (measure, corpus), n in texts.groupby(["measure", "task"])["n"]
    ]


def span(numbers: pd.Series) -> str:
    """Return the smallest and the largest count as text, or a single number if they are equal."""
    low, high = numbers.min(), numbers.max()
    if pd.isna(low):
        return "unknown"
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
