"""The spread of outcomes over draws of the calibration as CSV, Markdown and LaTeX."""

from pathlib import Path

import pandas as pd

from hfprune.analysis.declarations import Declaration, Declarations, declare
from hfprune.analysis.draws import spreads
from hfprune.analysis.evidence import Evidence
from hfprune.report.style import Look, looks
from hfprune.report.typeset import MISSING, Table, write_table
from hfprune.study import layout
from hfprune.study.labels import labels
from hfprune.study.study import Study


def write_draws(study: Study, name: str, folder: Path, out: Path) -> pd.DataFrame:
    """Write `draws.csv`, `.md` and `.tex`, and return the rows of the CSV.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells.
        out: folder of the output of `hfprune.analysis.collect.collect`, and of this function.

    Raises:
        HfpruneError: as `spreads`.
    """
    rows = spreads(Evidence(study, name, folder, out))
    named = looks({*rows["method"], *rows["against"]} - {""}, labels(study))
    table = draws_table(rows, declare(study), named)
    stem = layout.DRAWS.removesuffix(".csv")
    write_table(out, stem, table)
    return rows


def draws_table(rows: pd.DataFrame, declared: Declarations, looks: dict[str, Look]) -> Table:
    """Make the table of the rows of `spreads`."""
    effects = declared.effects()
    shown = pd.DataFrame(
        {
            "Ratio": [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]],
            "Method": [
                looks[method].label + (f" − {looks[against].label}" if against else "")
                for method, against in zip(rows["method"], rows["against"], strict=True)
            ],
            "Outcome": [_outcome(effects[effect]) for effect in rows["effect"]],
            "Draws": [f"{count:,}" for count in rows["seeds"]],
            "SD over draws": _numbers(rows["seeds_sd"]),
            "Resamples": [f"{count:,}" if count else MISSING for count in rows["resamples"]],
            "SD over resamples": _numbers(rows["resamples_sd"]),
            "Quotient": [
                MISSING if pd.isna(q) else f"{q:.2f} [{low:.2f}, {high:.2f}]"
                for q, low, high in zip(rows["quotient"], rows["low"], rows["high"], strict=True)
            ],
        }
    )
    shown = shown.drop(columns=[column for column in shown if len(shown) and {*shown[column]} == {MISSING}])
    notes = [
        "SD over draws: standard deviation of the mean over items when the calibration is drawn again with "
        "another seed. SD over resamples: the same when the folds of one calibration are drawn with replacement, "
        "corrected for their number; root mean square over the draws. Quotient: the first divided by the second, "
        "with its 95 % interval; a resampling that tells the luck of the draw has 1 inside. A minus: paired "
        "differences."
    ]
    groups = rows.groupby(["model", "ratio"], sort=False).ngroup()
    return Table("Luck of the draw of the calibration.", rows, shown, groups, notes, rows["model"])


def _outcome(row: Declaration) -> str:
    of = f", {row.measure}" if row.measure != row.kind else ""
    return row.metric.label + of + " (logarithm)" * (row.metric.effect == "ratio")


def _numbers(values: pd.Series) -> list[str]:
    return [MISSING if pd.isna(value) else f"{value:.4f}" for value in values]
