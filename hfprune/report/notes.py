"""The notes below tables whose cells are laid out in rows."""

import pandas as pd

from hfprune.paper.claims import Paper
from hfprune.paper.tables import AVERAGE, CROWS
from hfprune.report.cells import OURS
from hfprune.report.typeset import MISSING, Column
from hfprune.results import DENSE


def source_notes(columns: list[Column], cells: pd.DataFrame, names: dict[str, str]) -> list[str]:
    ours = cells[cells["source"] == OURS]
    legend = ["Source: paper, as printed there; ours, measured in this study. Never mixed."]
    present = set(ours["model"])
    legend += [f"{model} is {name} in this study." for name, model in names.items() if model in present]
    if ours.empty:
        legend.append("Ours: not measured.")
    elif set(ours["method"]) == {DENSE}:
        legend.append("Ours: no pruned model under the conditions of this table was measured.")
    return [*legend, *mark_notes(columns, ours)]


def mark_notes(columns: list[Column], ours: pd.DataFrame) -> list[str]:
    legend = []
    text = " ".join(cell for column in columns for cell in column.cells)
    if "±" in text:
        seeds = ours.loc[ours["seeds"] > 1, "seeds"].astype(int)
        over = (
            f"standard deviation over {span(seeds)} seeds, and in brackets standard error over items"
            if len(seeds)
            else "standard error over items, one seed"
        )
        legend.append(f"±: {over}; for single tasks, see the CSV.")
    if "**" in text:
        legend.append(
            "Bold: best pruned method with the same source, ratio and recovery, where its 95 % interval does not "
            "overlap that of any other."
        )
    if MISSING in text:
        legend.append(f"{MISSING}: not printed in the paper, not measured, or not applicable.")
    return legend


def averages(ours: pd.DataFrame, theirs: pd.DataFrame, published: Paper, zeroshot: str) -> list[str]:
    notes = []
    scores = ours[(ours["measure"] == zeroshot) & (ours["metric"] != AVERAGE)]
    if len(scores):
        notes.append(f"Items per task in ours: {span(scores['n'])}.")
        pruned = scores[scores["method"] != DENSE]
        if len(pruned) and not (pruned["seeds"] > 1).any():
            notes.append(
                "Ours are of one draw of the calibration, which tells no two methods apart. What each changes "
                "from the dense model on the same items is in the table `lost`."
            )
        # A table that prints no tasks averages the tasks of the other tables.
        printed = next(tasks for tasks in map(_tasks, (theirs, published.numbers)) if tasks)
        if {*scores["task"]} != printed:
            notes.append(
                f"Averages are over other tasks, {scores['task'].nunique()} in ours and {len(printed)} in the "
                "paper's, and cannot be compared across sources."
            )
    if CROWS in {*ours["metric"], *theirs["metric"]}:
        notes.append(
            "Crows: share of stereotypes, ideally 50; Average counts it as an accuracy, as the paper does."
        )
    return notes


def _tasks(theirs: pd.DataFrame) -> set[str]:
    return {*theirs["task"]} - {"", AVERAGE}


def corpora(texts: pd.DataFrame) -> list[str]:
    return [
        f"{measure.capitalize()} on {corpus} in ours: n = {span(n)}."
        for (measure, corpus), n in texts.groupby(["measure", "task"])["n"]
    ]


def span(numbers: pd.Series) -> str:
    low, high = numbers.min(), numbers.max()
    if pd.isna(low):
        return "unknown"
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
