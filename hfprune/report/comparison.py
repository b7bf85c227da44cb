"""Every method beside the reference method as CSV, Markdown and LaTeX."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.comparison import ABLATED, ENDS, P_VALUES, compare
from hfprune.analysis.declarations import Declaration, Declarations, declare
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.statistics import LEVEL
from hfprune.report.style import Look, looks
from hfprune.report.typeset import MISSING, Table, write_table
from hfprune.study import layout
from hfprune.study.labels import labels
from hfprune.study.study import Study


class Effect(NamedTuple):
    """The presentation of an effect: its heading, its format, and the value between better and worse."""

    heading: str
    shown: str
    than: float | None
    better: int
    """1 if higher values are better, -1 if lower ones are, 0 if neither."""


def effects_shown(declared: Declarations) -> dict[str, Effect]:
    """Return the presentation of each effect of a comparison, by its column."""
    return {column: _shown(column, row) for column, row in declared.effects().items()}


def _shown(column: str, row: Declaration) -> Effect:
    metric = row.metric
    better = {"higher": 1, "lower": -1}.get(metric.better, 0)
    of = f", {row.measure}" if column.startswith(f"{row.measure}.") else ""
    if metric.effect == "ratio":
        return Effect(f"{metric.label} ratio{of}", "{:,.2f}", 1, better)
    # An abbreviation keeps its first capital.
    label = metric.label[:1].lower() + metric.label[1:] if metric.label[1:2].islower() else metric.label
    unit = "points" if metric.unit == "%" else metric.unit
    return Effect(
        f"Δ {label}{of}" + (f" ({unit})" if unit else ""), metric.shown.replace("{:", "{:+", 1), 0, better
    )


def in_order(rows: pd.DataFrame, declared: Declarations, primary: str | None = None) -> pd.DataFrame:
    """Return the rows of a comparison with the best method first, by the primary outcome or else the first.

    Rows without that effect, such as those of other seeds, come last, methods in the order of all tables.
    """
    effects = declared.effects()
    chosen = [column for column, row in effects.items() if row.measure == primary] or [*effects]
    column = next((column for column in chosen if column in rows and rows[column].notna().any()), None)
    order = [*looks(rows["method"])]
    rows = rows.assign(place=rows["method"].map(order.index), penalty=np.nan)
    if column:
        rows["penalty"] = rows[column] * (-1 if effects[column].metric.better == "higher" else 1)
    by = ["model", "ratio", "penalty", "place", "seed"]
    return rows.sort_values(by, ignore_index=True).drop(columns=["place", "penalty"])


def comparison_table(
    rows: pd.DataFrame, declared: Declarations, looks: dict[str, Look], primary: str | None = None
) -> Table:
    """Make the table of the rows of `compare`; `primary` is the study's measure of that name."""
    effects = effects_shown(declared)
    methods = [looks[method].label for method in rows["method"]]
    seeds = ["" if pd.isna(seed) else f", seed {seed:.0f}" for seed in rows["seed"]]
    shown = pd.DataFrame(
        {
            "Ratio": [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]],
            "Method": [label + seed for label, seed in zip(methods, seeds, strict=True)],
            "Differs in": rows["differs"],
            "Overlap": [_number(value, "{:.2f}") for value in rows["overlap"]],
            "Rank corr.": [_number(value, "{:z.2f}") for value in rows["rank_correlation"]],
            "Near the cut": [_number(value, "{:.0%}") for value in rows["near_cut"]],
            "Ablation corr.": [_number(value, "{:.2f}") for value in rows["ablation_correlation"]],
            "Δ ablation corr.": _intervals(rows, ABLATED, Effect("", "{:+.2f}", 0, 1)),
            **{effect.heading: _intervals(rows, column, effect) for column, effect in effects.items()},
        }
    )
    shown = shown.drop(columns=[column for column in shown if set(shown[column]) == {MISSING}])
    references = [looks[name].label for name in rows["reference"]]
    if len(set(references)) > 1:
        shown.insert(2, "Reference", references)
    notes = [
        f"Reference: {' or '.join(dict.fromkeys(references))}, seed by seed on the same items; without recovery.",
        "Differs in: the settings that differ from the reference's; options that only one of two criteria has do "
        "not count.",
        "Overlap: Jaccard index of the kept neurons. Rank corr.: Spearman's of the scores. Near the cut: share of "
        "the neurons kept by only one of the two that lie within a tenth of the layer's width from both cuts. "
        + "Ablation corr.: Spearman's of the method's scores with the KL divergence that ablating single neurons "
        "causes. " * ("Ablation corr." in shown) + "All are means over layers.",
        "In brackets: 95 % interval over draws of the calibration and items together, Student's t of a two-way "
        "variance; none for a single draw without resampled calibrations. Intervals stand for themselves: of a "
        "hundred without an effect, five would show one. Bold: better even by Holm's correction for all methods "
        f"and ratios of the model (p < {1 - LEVEL:.2g}).",
    ]
    chosen = [effects[name].heading for name, row in declared.effects().items() if row.measure == primary]
    if chosen:
        notes.append(
            f"Primary outcome, chosen before the study was run: {chosen[0]}. The others are secondary."
        )
    if "points" in effects and effects["points"].heading in shown:
        notes.append(
            "Accuracy: the paper's average over tasks, which counts CrowS-Pairs, if present, as an accuracy."
        )
    groups = rows.groupby(["model", "ratio"], sort=False).ngroup()
    return Table("Every method beside the reference.", rows, shown, groups, notes, rows["model"])


def _intervals(rows: pd.DataFrame, column: str, effect: Effect) -> list[str]:
    cells = []
    holm = rows.get(column + P_VALUES[1], pd.Series(np.nan, rows.index))
    for value, low, high, corrected in zip(*(rows[column + end] for end in ENDS), holm, strict=True):
        text = _number(value, effect.shown)
        if pd.notna(low):
            text += f" [{effect.shown.format(low)}, {effect.shown.format(high)}]"
            better = effect.better * (value - (effect.than or 0)) > 0
            text = f"**{text}**" if better and corrected < 1 - LEVEL else text
        cells.append(text)
    return cells


def _number(value: float, form: str) -> str:
    return MISSING if pd.isna(value) else form.format(value)


def write_comparison(study: Study, name: str, folder: Path, out: Path) -> pd.DataFrame:
    """Write `comparison.csv`, `.md` and `.tex`, and return the rows of the CSV.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells, scores and plans.
        out: folder of the output of `hfprune.analysis.collect.collect`, and of this function.

    Raises:
        HfpruneError: as `compare`.
    """
    declared = declare(study)
    rows = compare(Evidence(study, name, folder, out))
    named = looks({*rows["method"], *rows["reference"]}, labels(study))
    table = comparison_table(rows, declared, named, study.primary)
    stem = layout.COMPARISON.removesuffix(".csv")
    write_table(out, stem, table)
    return rows
