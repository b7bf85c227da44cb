"""Finds errors in the published tables from the numbers alone."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hfprune.errors import HfpruneError
from hfprune.paper.tables import (
    AVERAGE,
    LINE,
    PRINTED,
    SETTING,
    line_name,
    line_name_of,
    percent,
    read_rows,
    read_tables,
)
from hfprune.results import DENSE

ANOMALIES = "anomalies.csv"
FINDING_COLUMNS = ["finding", "table", "where", "printed", "expected", "anomaly"]

# Derived number → its raw number, and the formula from the dense model's and the pruned model's raw numbers.
DERIVED: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "prefill_speedup": ("prefill_latency", lambda dense, pruned: dense / pruned),
    "prefill_speedup_in_text": ("prefill_latency", lambda dense, pruned: dense / pruned),
    "decode_gain": ("decode_throughput", lambda dense, pruned: 100 * (pruned / dense - 1)),
}
CHANCE = 2  # Numbers that two rows may share by chance.
EPSILON = 1e-9  # Rounding error of a difference of decimals as floats: 0.1 + 0.2 > 0.3.


class Finding(NamedTuple):
    """An error: its place, the printed number, and the expected one."""

    table: str
    where: str
    printed: str
    expected: str


class Averaged(NamedTuple):
    """A printed row that has an average, with a (perhaps missing) score for each task of its table."""

    table: int
    name: str
    scores: pd.Series
    average: float
    printed: str
    slack: float
    typical: pd.Series

    @property
    def is_wrong(self) -> bool:
        """Whether the average differs from the mean of the scores by more than the rounding of both."""
        return abs(self.scores.mean(skipna=False) - self.average) > self.slack + EPSILON

    @property
    def missing_points(self) -> float:
        """The points that the scores lack to give the average."""
        return len(self.scores) * self.average - self.scores.sum()


def audit(folder: Path) -> pd.DataFrame:
    """Check the published tables and match the findings to the known anomalies.

    Args:
        folder: `paper/`, with `tables/table1.csv` to `table8.csv` and `anomalies.csv`.

    Returns:
        One row per finding. `finding` is its kind, a key of `CHECKS`; `anomaly` is the id of the known anomaly, or
        empty if there is none.

    Raises:
        HfpruneError: a file or a column is missing, or has an invalid value.
    """
    known = read_anomalies(folder / ANOMALIES)
    findings = find(read_tables(folder))
    findings["anomaly"] = [_anomaly(finding, known) for finding in findings.itertuples()]
    return findings[FINDING_COLUMNS]


def report(findings: pd.DataFrame) -> str:
    """Return the findings of `audit` as Markdown, a sentence and a table."""
    if findings.empty:
        return "Nothing found.\n"
    new = (findings["anomaly"] == "").sum()
    table = findings.rename(columns=str.capitalize).to_markdown(index=False, disable_numparse=True)
    return f"Findings: {len(findings)}, of which {new} match no known anomaly.\n\n{table}\n"


def read_anomalies(path: Path) -> pd.DataFrame:
    """Return `anomalies.csv`, one row each; `finding` and `where` become lists.

    Raises:
        HfpruneError: the file or a column is missing, or a finding is of no known kind.
    """
    known = read_rows(path, ["id", "table", "finding", "where", "claim"])
    for column in ("finding", "where"):
        known[column] = known[column].str.split("; ")
    unknown = set(known["finding"].explode()) - {"", *CHECKS}
    if unknown:
        raise HfpruneError(f"{path}: column finding: {min(unknown)!r} is none of {', '.join(CHECKS)}")
    return known


def find(rows: pd.DataFrame) -> pd.DataFrame:
    """Run every check on rows of `read_tables` and return the columns of `audit` but `anomaly`."""
    found = [(kind, *finding) for kind, check in CHECKS.items() for finding in check(rows)]
    return pd.DataFrame(found, columns=FINDING_COLUMNS[:-1])


def wrong_averages(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find averages that are not the mean of their row."""
    for line in _averaged(rows):
        if line.is_wrong:
            yield Finding(str(line.table), line.name, line.printed, f"{line.scores.mean():.4g}")


def repeated_values(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find values repeated from another task in a row with a wrong average, where the repetition explains it.

    It does if the value that the average implies is closer to the task's values in other rows.
    """
    for line in _averaged(rows):
        if not line.is_wrong:
            continue
        twins = line.scores[line.scores.duplicated(keep=False)]
        for task, score in twins.items():
            needed = score + line.missing_points
            if abs(needed - line.typical[task]) < abs(score - line.typical[task]):
                others = [other for other in twins.index[twins == score] if other != task]
                where = f"{line.name}: {task} = {' = '.join(others)}"
                yield Finding(str(line.table), where, f"{score:g}", f"about {needed:.4g}")


def missing_cells(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find rows with an average that lack a task of their table."""
    for line in _averaged(rows):
        missing = line.scores.index[line.scores.isna()]
        needed = f"about {line.missing_points:.4g}" if len(missing) == 1 else "a value"
        for task in missing:
            yield Finding(str(line.table), f"{line.name}: {task}", "", needed)


def duplicated_rows(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find rows of one table that agree in all their numbers."""
    lines: dict[tuple, list[str]] = {}
    for (table, *setting), cells in rows.groupby(LINE, sort=False, dropna=False):
        numbers = frozenset(zip(cells["column"], cells["value"], strict=True))
        if len(numbers) > CHANCE:
            lines.setdefault((table, numbers), []).append(line_name(*setting))
    for (table, numbers), names in lines.items():
        if len(names) > 1:
            yield Finding(str(table), " = ".join(names), f"{len(numbers)} equal numbers", "different rows")


def wrong_derived(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find gains and speed-ups that no rounding of the raw numbers beside them can give."""
    for metric, (raw, formula) in DERIVED.items():
        raws = rows.loc[rows["metric"] == raw, [*LINE, "value", "step"]]
        dense = raws.loc[raws["method"] == DENSE, ["table", "model", "value", "step"]]
        printed = rows[rows["metric"] == metric].merge(raws, on=LINE, suffixes=("", "_pruned"))
        for cell in printed.merge(dense, on=["table", "model"], suffixes=("", "_dense")).itertuples():
            # The formulas are monotone in both numbers, so the extremes lie in the corners.
            denses, pruneds = (
                (value - step / 2, value + step / 2)
                for value, step in [
                    (cell.value_dense, cell.step_dense),
                    (cell.value_pruned, cell.step_pruned),
                ]
            )
            corners = [formula(*corner) for corner in product(denses, pruneds)]
            slack = cell.step / 2 + EPSILON
            if not min(corners) - slack <= cell.value <= max(corners) + slack:
                where = f"{line_name_of(cell)}: {metric}"
                expected = f"{formula(cell.value_dense, cell.value_pruned):.4g}"
                yield Finding(str(cell.table), where, cell.printed, expected)


def opposed_directions(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find similarities that rise or fall together with a distance from one ratio to the next."""
    moves = _moves(rows[rows["unit"].isin(["distance", "similarity"])])
    distances, similarities = (moves[moves["unit"] == unit] for unit in ("distance", "similarity"))
    pairs = distances.merge(similarities, on=[*LINE, "ratio_before"], suffixes=("", "_similarity"))
    for pair in pairs[pairs["change"] * pairs["change_similarity"] > 0].itertuples():
        yield Finding(
            str(pair.table),
            f"{line_name_of(pair)}: {pair.metric} and {pair.metric_similarity}",
            f"{pair.printed_before} → {pair.printed}, "
            f"{pair.printed_before_similarity} → {pair.printed_similarity}",
            f"similarity {'below' if pair.change > 0 else 'above'} {pair.printed_before_similarity}",
        )


def rising_averages(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find averages that rise as more is removed, by the same method with the same recovery."""
    moves = _moves(rows[rows["task"] == AVERAGE])
    for move in moves[moves["change"] > 0].itertuples():
        expected = f"at most {move.printed_before}, as at {percent(move.ratio_before)}"
        yield Finding(str(move.table), line_name_of(move), move.printed, expected)


def conflicting_values(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find settings that have different numbers in two tables, except averages over different tasks."""
    usual, sets = _task_sets(rows)
    unusual = [table for table, tasks in sets.items() if tasks != usual]
    rows = rows[(rows["task"] != AVERAGE) | ~rows["table"].isin(unusual)]
    pairs = rows.merge(rows, on=[*SETTING, "column"], suffixes=("", "_other"))
    pairs = pairs[pairs["table"] > pairs["table_other"]]
    step = pairs[["step", "step_other"]].max(axis=1)
    pairs = pairs[(pairs["value"] - pairs["value_other"]).abs() > step / 2 + EPSILON]
    for (table, other, *setting), cells in pairs.groupby(["table", "table_other", *SETTING], dropna=False):
        yield Finding(
            f"{table} vs {other}",
            f"{line_name(*setting)}: {', '.join(cells['column'])}",
            ", ".join(cells["printed"]),
            ", ".join(cells["printed_other"]),
        )


def different_task_sets(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find tables that average other tasks than most tables do."""
    usual, sets = _task_sets(rows)
    for table, tasks in sets.items():
        differences = {"without": usual - tasks, "with": tasks - usual}
        words = [f"{word} {', '.join(sorted(some))}" for word, some in differences.items() if some]
        if words:
            where = f"{AVERAGE} {' and '.join(words)}"
            yield Finding(str(table), where, f"{len(tasks)} tasks", f"{len(usual)} tasks")


# Kind of finding, as in `anomalies.csv` → the function that finds it.
CHECKS: dict[str, Callable[[pd.DataFrame], Iterable[Finding]]] = {
    "wrong average": wrong_averages,
    "repeated value": repeated_values,
    "missing cell": missing_cells,
    "duplicated row": duplicated_rows,
    "wrong derived number": wrong_derived,
    "opposed directions": opposed_directions,
    "rising average": rising_averages,
    "conflicting values": conflicting_values,
    "different task sets": different_task_sets,
}


def _averaged(rows: pd.DataFrame) -> Iterator[Averaged]:
    for table, part in rows[rows["task"] != ""].groupby("table"):
        cells = part[part["task"] != AVERAGE]
        scores = cells.pivot(index=LINE, columns="task", values="value")
        typical, step = scores.median(), cells["step"].max()
        lines = dict(scores.iterrows())
        for average in part[part["task"] == AVERAGE].itertuples():
            line = lines.get(tuple(getattr(average, column) for column in LINE))
            if line is not None:
                printed = average.value, average.printed, (average.step + step) / 2
                yield Averaged(table, line_name_of(average), line, *printed, typical)


def _moves(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their numbers at the next lower ratio (`*_before`), and the change from there."""
    rows = rows.sort_values("ratio")
    series = rows.groupby([column for column in PRINTED if column != "ratio"])
    before = series[["ratio", "value", "printed"]].shift().add_suffix("_before")
    moves = rows.join(before).dropna(subset="value_before").sort_index()
    return moves.assign(change=moves["value"] - moves["value_before"])


def _task_sets(rows: pd.DataFrame) -> tuple[frozenset[str], dict[int, frozenset[str]]]:
    """Return the tasks that most tables average, and those of each table that prints an average and tasks."""
    scores = rows[rows["task"] != ""].groupby("table")["task"]
    sets = {table: frozenset(tasks) - {AVERAGE} for table, tasks in scores if AVERAGE in set(tasks)}
    sets = {table: tasks for table, tasks in sets.items() if tasks}
    return Counter(sets.values()).most_common(1)[0][0] if sets else frozenset(), sets


def _anomaly(finding: Any, known: pd.DataFrame) -> str:
    """Return the ids of the anomalies of this kind and table whose place is in the finding's."""
    return ", ".join(
        anomaly.id
        for anomaly in known.itertuples()
        if anomaly.table == finding.table
        and finding.finding in anomaly.finding
        and any(place in finding.where for place in anomaly.where)
    )
