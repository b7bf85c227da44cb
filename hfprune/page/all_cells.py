"""All methods: a table per number with the cells of all studies, the best first."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from hfprune.page.study_results import Quantity, StudyResults
from hfprune.report.looks import looks_of
from hfprune.report.style import recovery_label
from hfprune.report.values import dotted
from hfprune.rounding import percent

COLUMNS = {
    **{"label": "Method", "shown": "Value", "interval": "95 % interval", "beside": "Against its reference"},
    **{"removed": "Removed", "study": "Study", "model": "Model"},
    **{"calibrated": "Calibration", "recovery": "Recovery"},
    **{"n": "n", "draws": "Draws"},
}
SEVERAL = ("study", "model", "calibrated", "recovery")  # columns left out where all rows have the same value
SIGNS = {"better": "▲", "worse": "▼", "no significant difference": "≈"}


class NumberTable(NamedTuple):
    """All cells by one number."""

    name: str
    headings: list[str]
    rows: list[list[object]]


def read_all(studies: Sequence[StudyResults]) -> dict[str, list[NumberTable]]:
    """Return the tables of all numbers by capability, the number that ranks methods in the answer first."""
    rows = pd.concat([_rows(study) for study in studies])
    columns = [name for name in COLUMNS if name not in SEVERAL or rows[name].nunique() > 1]
    meanings = {dotted(key): meaning for study in studies for key, meaning in study.meanings.items()}
    first = [dotted(study.headline) for study in studies if study.headline]
    parts = dict([*rows.groupby("key", sort=False)])
    tables: dict[str, list[NumberTable]] = {}
    for key in [key for key in dict.fromkeys([*first, *meanings]) if key in parts]:
        part = parts[key].sort_values("value", ascending=meanings[key].metric.better != "higher")
        shown = [name for name in columns if (part[name] != "").any()]
        cells = part[shown].astype(object).to_numpy().tolist()
        table = NumberTable(meanings[key].name, [COLUMNS[name] for name in shown], cells)
        tables.setdefault(meanings[key].capability, []).append(table)
    return tables


def _rows(study: StudyResults) -> pd.DataFrame:
    values, labels = study.values, {method: look.label for method, look in looks_of(study.data).items()}
    keys = values[[*Quantity._fields]].itertuples(index=False, name=None)
    return values.assign(
        study=study.name,
        key=[*map(dotted, keys)],
        label=values["method"].map(labels),
        recovery=values["recovery"].map(recovery_label),
        removed=values["ratio"].map(percent),
        n=["" if pd.isna(n) else f"{n:.0f}" for n in values["n"]],
        beside=[_beside(row, labels) for row in values.itertuples(index=False)],
    )


def _beside(row: Any, labels: dict[str, str]) -> str:
    if not row.effect_shown:
        return ""
    interval = f" ({row.effect_interval})" if row.effect_interval else ""
    words = [SIGNS.get(row.standing, ""), row.standing, f"({labels.get(row.reference, row.reference)})"]
    return f"{row.effect_shown}{interval} {' '.join(filter(None, words))}"
