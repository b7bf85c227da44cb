"""Print the defects of the paper's published tables that show in their numbers alone, as a Markdown table.

Each is matched to the rows of `paper/anomalies.csv` by its kind, table and place; one that matches none is new.

    python -m hfprune.paper.defects
"""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hfprune.assets.shipped import shipped
from hfprune.cells import DENSE
from hfprune.paper.printed import AVERAGE, line_name_of, read_rows, read_tables
from hfprune.rounding import percent

PAPER = shipped(Path("paper"))
# Derived number → its raw number, and the formula from the dense model's and the pruned model's raw numbers.
DERIVED = {
    "prefill_speedup": ("prefill_latency", lambda dense, pruned: dense / pruned),
    "prefill_speedup_in_text": ("prefill_latency", lambda dense, pruned: dense / pruned),
    "decode_gain": ("decode_throughput", lambda dense, pruned: 100 * (pruned / dense - 1)),
}
CHANCE = 2  # Numbers that two rows may share by chance.
EPSILON = 1e-9  # Rounding error of a difference of decimals as floats: 0.1 + 0.2 > 0.3.


class Defect(NamedTuple):
    """An error: its kind and place, the printed number, and the expected one."""

    kind: str
    table: str
    where: str
    printed: str
    expected: str


def averages(rows: pd.DataFrame) -> Iterator[Defect]:
    """Find averages that are not the mean of their row, and rows with an average that lack a task of their table.

    A value repeated from another task is a defect if it explains a wrong average: the value that the average
    implies is closer to the task's values in other rows.
    """
    for table, part in rows[rows["task"] != ""].groupby("table"):
        cells = part[part["task"] != AVERAGE]
        scores = cells.pivot(index="line", columns="task", values="value")
        printed = part[(part["task"] == AVERAGE) & part["line"].isin(scores.index)]
        for average in printed.itertuples():
            line, tasks = average.line, scores.loc[average.line]
            lacking = len(tasks) * average.value - tasks.sum()  # points that would give the average
            missing = tasks.index[tasks.isna()]
            for task in missing:
                needed = f"about {lacking:.4g}" if len(missing) == 1 else "a value"
                yield Defect("missing cell", str(table), f"{line}: {task}", "", needed)
            slack = (average.step + cells["step"].max()) / 2 + EPSILON
            if len(missing) or abs(tasks.mean() - average.value) <= slack:
                continue
            yield Defect("wrong average", str(table), line, average.printed, f"{tasks.mean():.4g}")
            for task, score in tasks[tasks.duplicated(keep=False)].items():
                needed, typical = score + lacking, scores[task].median()
                if abs(needed - typical) < abs(score - typical):
                    where = " = ".join([f"{line}: {task}", *tasks.index[tasks == score].drop(task)])
                    yield Defect("repeated value", str(table), where, f"{score:g}", f"about {needed:.4g}")


def duplicated_rows(rows: pd.DataFrame) -> Iterator[Defect]:
    """Find rows of one table that agree in all their numbers."""
    lines: dict[tuple, list[str]] = {}
    for (table, line), cells in rows.groupby(["table", "line"], sort=False):
        numbers = frozenset(zip(cells["column"], cells["value"], strict=True))
        if len(numbers) > CHANCE:
            lines.setdefault((table, numbers), []).append(line)
    for (table, numbers), equal in lines.items():
        if len(equal) > 1:
            count = f"{len(numbers)} equal numbers"
            yield Defect("duplicated row", str(table), " = ".join(equal), count, "different rows")


def wrong_derived(rows: pd.DataFrame) -> Iterator[Defect]:
    """Find gains and speed-ups that no rounding of the raw numbers beside them can give."""
    for metric, (raw, formula) in DERIVED.items():
        raws = rows.loc[rows["metric"] == raw, ["table", "line", "model", "method", "value", "step"]]
        dense = raws[raws["method"] == DENSE]
        cells = rows[rows["metric"] == metric].merge(raws, on=["table", "line"], suffixes=("", "_raw"))
        for cell in cells.merge(dense, on=["table", "model"], suffixes=("", "_dense")).itertuples():
            numbers = (cell.value_dense, cell.step_dense), (cell.value_raw, cell.step_raw)
            # The formulas are monotone in both numbers, so the extremes lie in the corners.
            ends = [(value - step / 2, value + step / 2) for value, step in numbers]
            corners = [formula(*corner) for corner in product(*ends)]
            slack = cell.step / 2 + EPSILON
            if not min(corners) - slack <= cell.value <= max(corners) + slack:
                where, expected = f"{cell.line}: {metric}", formula(cell.value_dense, cell.value_raw)
                yield Defect("wrong derived number", str(cell.table), where, cell.printed, f"{expected:.4g}")


def opposed_directions(rows: pd.DataFrame) -> Iterator[Defect]:
    """Find similarities that rise or fall together with a distance from one ratio to the next."""
    moves = _moves(rows[rows["unit"].isin(["distance", "similarity"])])
    distances, others = (moves[moves["unit"] == unit] for unit in ("distance", "similarity"))
    pairs = distances.merge(others, on=["table", "line", "ratio_before"], suffixes=("", "_other"))
    for pair in pairs[pairs["change"] * pairs["change_other"] > 0].itertuples():
        where = f"{pair.line}: {pair.metric} and {pair.metric_other}"
        steps = f"{pair.printed_before} → {pair.printed}, {pair.printed_before_other} → {pair.printed_other}"
        expected = f"similarity {'below' if pair.change > 0 else 'above'} {pair.printed_before_other}"
        yield Defect("opposed directions", str(pair.table), where, steps, expected)


def rising_averages(rows: pd.DataFrame) -> Iterator[Defect]:
    """Find averages that rise as more is removed, by the same method with the same recovery."""
    moves = _moves(rows[rows["task"] == AVERAGE])
    for move in moves[moves["change"] > 0].itertuples():
        expected = f"at most {move.printed_before}, as at {percent(move.ratio_before)}"
        yield Defect("rising average", str(move.table), move.line, move.printed, expected)


def conflicting_values(rows: pd.DataFrame) -> Iterator[Defect]:
    """Find settings that have different numbers in two tables, except averages over different tasks."""
    usual, sets = _task_sets(rows)
    unusual = [table for table, tasks in sets.items() if tasks != usual]
    rows = rows[(rows["task"] != AVERAGE) | ~rows["table"].isin(unusual)]
    pairs = rows.merge(rows, on=["line", "column"], suffixes=("", "_other"))
    step = pairs[["step", "step_other"]].max(axis=1)
    apart = (pairs["value"] - pairs["value_other"]).abs() > step / 2 + EPSILON
    pairs = pairs[apart & (pairs["table"] > pairs["table_other"])]
    for (table, other, line), cells in pairs.groupby(["table", "table_other", "line"], sort=False):
        column, *printed = (", ".join(cells[name]) for name in ("column", "printed", "printed_other"))
        yield Defect("conflicting values", f"{table} vs {other}", f"{line}: {column}", *printed)


def different_task_sets(rows: pd.DataFrame) -> Iterator[Defect]:
    """Find tables that average other tasks than most tables do."""
    usual, sets = _task_sets(rows)
    for table, tasks in sets.items():
        differences = {"without": usual - tasks, "with": tasks - usual}
        words = [f"{word} {', '.join(sorted(some))}" for word, some in differences.items() if some]
        if words:
            where, counts = f"{AVERAGE} {' and '.join(words)}", [f"{len(x)} tasks" for x in (tasks, usual)]
            yield Defect("different task sets", str(table), where, *counts)


CHECKS = [averages, duplicated_rows, wrong_derived, opposed_directions, rising_averages, conflicting_values]
CHECKS += [different_task_sets]


def _moves(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their numbers at the next lower ratio (`*_before`), and the change from there."""
    rows = rows.sort_values("ratio")
    series = rows.groupby(["table", "model", "method", "recovery", "column"])
    before = series[["ratio", "value", "printed"]].shift().add_suffix("_before")
    moves = rows.join(before).dropna(subset="value_before").sort_index()
    return moves.assign(change=moves["value"] - moves["value_before"])


def _task_sets(rows: pd.DataFrame) -> tuple[frozenset[str], dict[int, frozenset[str]]]:
    """Return the tasks that most tables average, and those of each table that prints an average and tasks."""
    scores = rows[rows["task"] != ""].groupby("table")["task"]
    sets = {table: frozenset(tasks) - {AVERAGE} for table, tasks in scores if AVERAGE in set(tasks)}
    sets = {table: tasks for table, tasks in sets.items() if tasks}
    return Counter(sets.values()).most_common(1)[0][0] if sets else frozenset(), sets


def find(rows: pd.DataFrame) -> list[Defect]:
    """Return the defects of the rows of `read_tables`."""
    rows = rows.assign(line=[line_name_of(row) for row in rows.itertuples()])
    return [defect for check in CHECKS for defect in check(rows)]


def anomaly_ids(defect: Defect, anomalies: pd.DataFrame) -> str:
    """Return the ids of the rows of `anomalies.csv` of this kind, table and place, joined by commas, or ""."""
    return ", ".join(
        row.id
        for row in anomalies[anomalies["table"] == defect.table].itertuples()
        if defect.kind in row.finding.split("; ")
        and any(place in defect.where for place in row.where.split("; "))
    )


if __name__ == "__main__":
    listed = read_rows(PAPER / "anomalies.csv", ["id", "table", "finding", "where"])
    table = pd.DataFrame(
        [{**x._asdict(), "anomaly": anomaly_ids(x, listed)} for x in find(read_tables(PAPER))]
    )
    print(table.to_markdown(index=False, disable_numparse=True))
