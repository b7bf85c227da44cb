"""What pruning has cost, task by task, as CSV, Markdown and LaTeX."""

from pathlib import Path

import pandas as pd

from hfprune.analysis.declarations import Declarations, declare
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.lost import lost
from hfprune.report.style import Look, looks
from hfprune.report.typeset import MISSING, Table, write_table
from hfprune.study import layout
from hfprune.study.labels import labels
from hfprune.study.study import Study


def write_lost(study: Study, name: str, folder: Path, out: Path) -> pd.DataFrame:
    """Write `lost.csv`, `.md` and `.tex`, and return the rows of the CSV.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells.
        out: folder of the output of `hfprune.analysis.collect.collect`, and of this function.

    Raises:
        HfpruneError: as `lost`.
    """
    rows = lost(Evidence(study, name, folder, out))
    table = lost_table(rows, declare(study), looks({*rows["method"]}, labels(study)))
    stem = layout.LOST.removesuffix(".csv")
    write_table(out, stem, table)
    return rows


def lost_table(rows: pd.DataFrame, declared: Declarations, looks: dict[str, Look]) -> Table:
    """Make the table of the rows of `lost`."""
    found = [declared.find(row.measure, row.metric) for row in rows.itertuples()]
    ratios = [declaration.metric.effect == "ratio" for declaration in found]
    shown = pd.DataFrame(
        {
            "Ratio": [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]],
            "Method": [looks[method].label for method in rows["method"]],
            "Outcome": [
                declaration.metric.label
                + f", {declaration.measure}" * (declaration.measure != declaration.kind)
                for declaration in found
            ],
            "Task": [task.replace("_", " ") or MISSING for task in rows["task"]],
            "Dense": [f"{dense:,.2f}" for dense in rows["dense"]],
            "Change": [_change(*row) for row in zip(ratios, rows["change"], strict=True)],
            "95 % interval": [
                MISSING if pd.isna(low) else f"[{_change(ratio, low)}, {_change(ratio, high)}]"
                for ratio, low, high in zip(ratios, rows["low"], rows["high"], strict=True)
            ],
            "Covers": rows["covers"].tolist(),
            "n": [f"{n:,}" for n in rows["n"]],
        }
    )
    notes = [
        "Change: the pruned model's outcome minus the dense model's, in pairs on the same items, or, with ×, "
        "divided by it. An interval that covers items alone holds for these plans, not for other draws of the "
        "calibration."
    ]
    groups = rows.groupby(["model", "ratio", "method"], sort=False).ngroup()
    return Table("What pruning costs, task by task.", rows, shown, groups, notes, rows["model"])


def _change(ratio: bool, change: float) -> str:
    return f"× {change:.2f}" if ratio else f"{change:+.2f}"
