"""Every method beside the reference."""

import numpy as np
import pandas as pd

from hfprune.analysis.against_reference import ENDS, P_VALUES
from hfprune.analysis.statistics import LEVEL
from hfprune.report.cells import present, ratio_column, texts, together, with_intervals, words
from hfprune.report.collected import Collected
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import Column, Table
from hfprune.report.values import Effect, effects_shown
from hfprune.study import layout


class ComparisonTable(TablePublication):
    order = 14
    reads = (layout.COMPARISON,)
    empty = "No two methods were measured at the same ratio."

    def make(self, data: Collected) -> Table:
        rows, effects, looks = data.comparison, effects_shown(data.declared), data.looks
        seeds = ["" if pd.isna(seed) else f", seed {seed:.0f}" for seed in rows["seed"]]
        methods = [looks[method].label + seed for method, seed in zip(rows["method"], seeds, strict=True)]
        references = [looks[name].label for name in rows["reference"]]
        columns = [
            ratio_column(rows),
            Column("Method", methods, words=True),
            *([Column("Reference", references, words=True)] if len({*references}) > 1 else []),
            Column("Differs in", words(rows["differs"]), words=True, prose=True),
            Column("Overlap", texts(rows["overlap"], "{:.2f}")),
            Column("Rank corr.", texts(rows["rank_correlation"], "{:z.2f}")),
            Column("Near the cut", texts(rows["near_cut"], "{:.0%}")),
            *(Column(effect.heading, _effect(rows, name, effect)) for name, effect in effects.items()),
        ]
        primary = [effects[name].heading for name in {*words(rows["primary"])} if name]
        joined = words(rows.get("corrected_together", pd.Series("", rows.index)))
        families = [family.split("+") for text in {*joined} for family in text.split(";") if family]
        columns = present(columns)
        return Table(
            rows,
            columns,
            _notes(references, primary, [column.heading for column in columns], effects)
            + [
                f"Corrected together: {', '.join(effects[name].heading for name in family)}."
                for family in families
            ],
        )


def _effect(rows: pd.DataFrame, name: str, effect: Effect) -> list[str]:
    """Return the texts of an effect, bold where it is better even by Holm's correction."""
    value, low, high = (rows[name + end] for end in ENDS)
    cells = together(
        *with_intervals(value, low, high, effect.shown, effect.neutral or 0, effect.neutral == 1)
    )
    holm = rows.get(name + P_VALUES[1], pd.Series(np.nan, rows.index))
    sure = (effect.better * (value - (effect.neutral or 0)) > 0) & low.notna() & (holm < 1 - LEVEL)
    return [f"**{cell}**" if bold else cell for cell, bold in zip(cells, sure, strict=True)]


def _notes(
    references: list[str], primary: list[str], headings: list[str], effects: dict[str, Effect]
) -> list[str]:
    notes = [
        f"Reference: {' or '.join(dict.fromkeys(references))}, seed by seed on the same items; without recovery.",
        "Differs in: the settings that differ from the reference's; options that only one of two criteria has "
        "do not count.",
        "Overlap: Jaccard index of the kept neurons. Rank corr.: Spearman's of the scores. Near the cut: share "
        "of the neurons kept by only one of the two that lie within a tenth of the layer's width from both cuts. "
        "All are means over layers.",
        "In brackets: 95 % interval over draws of the calibration and items together, Student's t of a two-way "
        "variance, lengthened by Hall's transformation on the side of a long tail of items; none for a single "
        "draw without resampled calibrations. Intervals stand for themselves: of a hundred without an effect, "
        "five would show one. Bold: better even by Holm's correction for all models, "
        f"methods and ratios of the study (p < {1 - LEVEL:.2g}).",
    ]
    notes += [
        f"Primary outcome, chosen before the study was run: {heading}. The others are secondary."
        for heading in primary
    ]
    if "points" in effects and effects["points"].heading in headings:
        notes.append(
            "Accuracy: the paper's average over tasks, which counts CrowS-Pairs, if present, as an accuracy."
        )
    return notes
