"""The tables of a study: the paper's eight beside ours, and the others."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from hfprune.analysis.tidy import unreadable
from hfprune.report.columns import PAPERS_COLUMNS, SPECS
from hfprune.report.page.study import StudyResults, number
from hfprune.report.style import TASKS, metric_label, recovery_label
from hfprune.study.labels import readable

OTHERS = {
    "measures": "All measures that no table of the paper shows.",
    "calibration": "The gain from more calibration, by the number of sequences that a criterion read.",
}
COMPARISON = "Every method beside its reference, with 95 % intervals of the paired differences."
WORDS = {"model": "Model", "method": "Method", "ratio": "Removed", "recovery": "Recovery", "source": "Source"}


@dataclass(frozen=True)
class Shown:
    """A table for readers: its title, headings and cells; `ours` marks the rows of this study."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    ours: list[bool]
    doubts: str
    """The anomalies in doubtful cells, or ""."""


def read_all(study: StudyResults) -> list[Shown]:
    """Return the tables that were kept with the results, in the paper's order."""
    found = [_read(study, name, f"Table {i}. {SPECS[name].caption}") for i, name in enumerate(SPECS, start=1)]
    found += [_read(study, name, caption) for name, caption in OTHERS.items()]
    kept = [table for table in found if table]
    if len(study.comparison):
        kept.append(shown(COMPARISON, study.comparison.astype(object), study))
    return kept


def _read(study: StudyResults, name: str, title: str) -> Shown | None:
    path = study.folder / "tables" / f"{name}.csv"
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise unreadable(path, error) from error
    return shown(title, table, study)


def shown(title: str, table: pd.DataFrame, study: StudyResults) -> Shown:
    """Lay out a CSV for readers: spreads and intervals join their numbers, and empty columns are left out."""
    doubts = sorted({*table.get("doubts", pd.Series(dtype=str)).dropna()})
    joined = {f"{name}{end}" for name in table for end in ("_sd", "_stderr", "_half", "_low", "_high")}
    columns = [name for name in table if name not in joined | {"doubts"} and table[name].notna().any()]
    rows = [[*_cells(row, columns, study)] for row in table.to_dict("records")]
    ours = [row.get("source", "ours") == "ours" for row in table.to_dict("records")]
    return Shown(title, [_heading(name) for name in columns], rows, ours, "; ".join(doubts))


def _cells(row: dict, columns: list[str], study: StudyResults) -> Iterator[str]:
    for name in columns:
        value = row[name]
        if pd.isna(value):
            yield recovery_label("none") if name == "recovery" else "–"
        elif name == "ratio":
            yield f"{100 * float(value):.3g} %"
        elif name in ("method", "reference"):
            yield study.looks[value].label if value in study.looks else readable(str(value))
        elif name == "recovery":
            yield recovery_label(value)
        elif isinstance(value, str):
            yield value
        else:
            yield _number(float(value)) + _spread(row, name)


def _spread(row: dict, name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if low is not None and high is not None and not pd.isna(low):
        return f" ({_number(float(low))} to {_number(float(high))})"
    for end in ("_sd", "_stderr"):
        width = row.get(name + end)
        if width is not None and not pd.isna(width):
            return f" ± {_number(float(width), 2)}"
    return ""


def _number(value: float, digits: int = 4) -> str:
    return number(value, "{:,.0f}" if abs(value) >= 10**digits else f"{{:,.{digits}g}}")


def _heading(name: str) -> str:
    if name in WORDS:
        return WORDS[name]
    if name in TASKS:
        return TASKS[name].short
    if name in PAPERS_COLUMNS:
        return PAPERS_COLUMNS[name].heading
    label = metric_label(name)
    return label[:1].upper() + label[1:]
