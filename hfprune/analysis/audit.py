"""Finds, from the numbers alone, what cannot be right in the published tables."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hfprune import layout
from hfprune.analysis.averages import AVERAGE
from hfprune.errors import HfpruneError
from hfprune.results import DENSE

TABLES = [f"{name}.csv" for name in layout.PAPER_TABLES]
ANOMALIES = "anomalies.csv"

SETTING = ["model", "ratio", "method", "recovery"]
LINE = ["table", *SETTING]  # identifies a row as printed
CELL = [*LINE, "column"]
COLUMNS = ["finding", "table", "where", "printed", "expected", "anomaly"]

# Derived number → the raw number behind it, and how it follows from the dense model's and the pruned one's.
DERIVED: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "prefill_speedup": ("prefill_latency", lambda dense, pruned: dense / pruned),
    "prefill_speedup_in_text": ("prefill_latency", lambda dense, pruned: dense / pruned),
    "decode_gain": ("decode_throughput", lambda dense, pruned: 100 * (pruned / dense - 1)),
}
CHANCE = 2  # Numbers that two rows may share by chance.
EPSILON = 1e-9  # 0.1 + 0.2 > 0.3: what floats add to a difference of decimals.


class Finding(NamedTuple):
    """Something that cannot be right: where, what is printed there, and what should be."""

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
        """What must be added to the scores to arrive at the average."""
        return len(self.scores) * self.average - self.scores.sum()


def audit(folder: Path) -> pd.DataFrame:
    """Check the published tables and match what is found to the known anomalies.

    Args:
        folder: `paper/`, with `tables/table1.csv` to `table8.csv` and `anomalies.csv`.

    Returns:
        One row per finding. `finding` is its kind, a key of `CHECKS`; `anomaly` the id of the known anomaly, empty
        where there is none.

    Raises:
        HfpruneError: a file or a column is missing, or has what does not belong there.
    """
    known = read_anomalies(folder / ANOMALIES)
    findings = find(read_tables(folder))
    findings["anomaly"] = [_anomaly(finding, known) for finding in findings.itertuples()]
    return findings[COLUMNS]


def report(findings: pd.DataFrame) -> str:
    """Return the findings of `audit` as Markdown, a sentence and a table."""
    if findings.empty:
        return "Nothing found.\n"
    new = (findings["anomaly"] == "").sum()
    table = findings.rename(columns=str.capitalize).to_markdown(index=False, disable_numparse=True)
    return f"Findings: {len(findings)}, of which {new} match no known anomaly.\n\n{table}\n"


def read_tables(folder: Path) -> pd.DataFrame:
    """Return the numbers of all published tables, one a row.

    Columns beside those of the files: `printed`, the number as text; `step`, the unit of the last digit that the
    table prints of this metric; `column`, the task or, where there is none, the metric. Cells without a number are
    left out.

    Args:
        folder: `paper/`.

    Raises:
        HfpruneError: a file or a column is missing, a number is none, or a cell occurs twice.
    """
    return pd.concat([_read_table(folder / "tables" / name) for name in TABLES], ignore_index=True)


def read_anomalies(path: Path) -> pd.DataFrame:
    """Return `anomalies.csv`, one row each; `finding` and `where` become lists.

    Raises:
        HfpruneError: the file or a column is missing, or a finding is of no known kind.
    """
    known = _read(path, ["id", "table", "finding", "where", "claim"])
    for column in ("finding", "where"):
        known[column] = known[column].str.split("; ")
    unknown = set(known["finding"].explode()) - {"", *CHECKS}
    if unknown:
        raise HfpruneError(f"{path}: column finding: {min(unknown)!r} is none of {', '.join(CHECKS)}")
    return known


def find(rows: pd.DataFrame) -> pd.DataFrame:
    """Run every check on rows of `read_tables` and return the columns of `audit` but `anomaly`."""
    found = [(kind, *finding) for kind, check in CHECKS.items() for finding in check(rows)]
    return pd.DataFrame(found, columns=COLUMNS[:-1])


def wrong_averages(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find averages that are not the mean of their row."""
    for line in _averaged(rows):
        if line.is_wrong:
            yield Finding(str(line.table), line.name, line.printed, f"{line.scores.mean():.4g}")


def repeated_values(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find the value of another task in a row whose average is wrong, where that explains the average.

    It does where the value that the average asks for is closer to what other rows have for the task.
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
            lines.setdefault((table, numbers), []).append(_name(*setting))
    for (table, numbers), names in lines.items():
        if len(names) > 1:
            yield Finding(str(table), " = ".join(names), f"{len(numbers)} equal numbers", "different rows")


def wrong_derived(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find gains and speed-ups that do not follow from the raw numbers beside them, whatever their rounding."""
    for metric, (raw, formula) in DERIVED.items():
        raws = rows.loc[rows["metric"] == raw, [*LINE, "value", "step"]]
        dense = raws.loc[raws["method"] == DENSE, ["table", "model", "value", "step"]]
        printed = rows[rows["metric"] == metric].merge(raws, on=LINE, suffixes=("", "_pruned"))
        for cell in printed.merge(dense, on=["table", "model"], suffixes=("", "_dense")).itertuples():
            # The formulas are monotone in both numbers, so that the extremes lie in the corners.
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
                where = f"{_name_of(cell)}: {metric}"
                expected = f"{formula(cell.value_dense, cell.value_pruned):.4g}"
                yield Finding(str(cell.table), where, cell.printed, expected)


def opposed_directions(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find similarities that move with a distance from one ratio to the next, not against it."""
    moves = _moves(rows[rows["unit"].isin(["distance", "similarity"])])
    distances, similarities = (moves[moves["unit"] == unit] for unit in ("distance", "similarity"))
    pairs = distances.merge(similarities, on=[*LINE, "ratio_before"], suffixes=("", "_similarity"))
    for pair in pairs[pairs["change"] * pairs["change_similarity"] > 0].itertuples():
        yield Finding(
            str(pair.table),
            f"{_name_of(pair)}: {pair.metric} and {pair.metric_similarity}",
            f"{pair.printed_before} → {pair.printed}, "
            f"{pair.printed_before_similarity} → {pair.printed_similarity}",
            f"similarity {'below' if pair.change > 0 else 'above'} {pair.printed_before_similarity}",
        )


def rising_averages(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find averages that rise although more is removed, by the same method with the same recovery."""
    moves = _moves(rows[rows["task"] == AVERAGE])
    for move in moves[moves["change"] > 0].itertuples():
        expected = f"at most {move.printed_before}, as at {_percent(move.ratio_before)}"
        yield Finding(str(move.table), _name_of(move), move.printed, expected)


def conflicting_values(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find settings that have different numbers in two tables, averages over different tasks aside."""
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
            f"{_name(*setting)}: {', '.join(cells['column'])}",
            ", ".join(cells["printed"]),
            ", ".join(cells["printed_other"]),
        )


def different_task_sets(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find tables whose averages are over other tasks than those of most tables."""
    usual, sets = _task_sets(rows)
    for table, tasks in sets.items():
        differences = {"without": usual - tasks, "with": tasks - usual}
        words = [f"{word} {', '.join(sorted(some))}" for word, some in differences.items() if some]
        if words:
            where = f"{AVERAGE} {' and '.join(words)}"
            yield Finding(str(table), where, f"{len(tasks)} tasks", f"{len(usual)} tasks")


# The kind of a finding, as in `anomalies.csv`, and what finds it.
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
                yield Averaged(table, _name_of(average), line, *printed, typical)


def _moves(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with what they were at the next lower ratio (`*_before`), and the change since."""
    rows = rows.sort_values("ratio")
    series = rows.groupby([column for column in CELL if column != "ratio"])
    before = series[["ratio", "value", "printed"]].shift().add_suffix("_before")
    moves = rows.join(before).dropna(subset="value_before").sort_index()
    return moves.assign(change=moves["value"] - moves["value_before"])


def _task_sets(rows: pd.DataFrame) -> tuple[frozenset[str], dict[int, frozenset[str]]]:
    """Return the tasks that most tables average, and those of each table that prints an average and tasks."""
    scores = rows[rows["task"] != ""].groupby("table")["task"]
    sets = {table: frozenset(tasks) - {AVERAGE} for table, tasks in scores if AVERAGE in set(tasks)}
    sets = {table: tasks for table, tasks in sets.items() if tasks}
    return Counter(sets.values()).most_common(1)[0][0] if sets else frozenset(), sets


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.3g}%"


def _name(model: str, ratio: float, method: str, recovery: str) -> str:
    return " ".join([model, *([] if pd.isna(ratio) else [_percent(ratio)]), f"{method}, {recovery}"])


def _name_of(row: Any) -> str:
    return _name(row.model, row.ratio, row.method, row.recovery)


def _read_table(path: Path) -> pd.DataFrame:
    rows = _read(path, [*LINE, "task", "metric", "value", "unit"])
    rows["column"] = rows["task"].where(rows["task"] != "", rows["metric"])
    rows["printed"] = rows["value"]
    decimals = rows["printed"].str.partition(".")[2].str.len()
    # By metric, not by cell: 1.0 in a column with 1.24 stands for 1.00.
    rows["step"] = 10.0 ** -decimals.groupby(rows["metric"]).transform("max")
    for column, optional in {"table": False, "ratio": True, "value": True}.items():
        numbers = pd.to_numeric(rows[column], errors="coerce")
        wrong = rows.loc[numbers.isna() & ((rows[column] != "") | (not optional)), column]
        if len(wrong):
            raise HfpruneError(
                f"{path}: column {column}, line {_line(wrong)}: {wrong.iloc[0]!r} is no number"
            )
        rows[column] = numbers
    repeated = rows[rows.duplicated(CELL)]
    if len(repeated):
        cell = repeated.iloc[0]
        raise HfpruneError(
            f"{path}: column {cell['column']}, line {_line(repeated)}: repeats that of {_name_of(cell)}"
        )
    return rows.dropna(subset="value")


def _anomaly(finding: Any, known: pd.DataFrame) -> str:
    """Return the ids of the anomalies of this kind and table whose place is in the finding's."""
    return ", ".join(
        anomaly.id
        for anomaly in known.itertuples()
        if anomaly.table == finding.table
        and finding.finding in anomaly.finding
        and any(place in finding.where for place in anomaly.where)
    )


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise HfpruneError(f"{path}: cannot read it: {error.strerror}") from error
    except ValueError as error:
        raise HfpruneError(f"{path}: not valid CSV: {' '.join(str(error).split())}") from error
    missing = [column for column in columns if column not in rows]
    if missing:
        raise HfpruneError(f"{path}: lacks the column {missing[0]}; it needs {', '.join(columns)}")
    return rows


def _line(rows: pd.DataFrame | pd.Series) -> int:
    return int(rows.index[0]) + 2  # counted from 1, after the header
