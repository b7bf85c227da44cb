"""Paired differences of every method from the reference."""

from collections.abc import Iterator

import pandas as pd

from hfprune.report.cells import calibration_columns, present, ratio_column, texts, words
from hfprune.report.effects import AT, GROUP, TYPES, agreement_on_neurons, beside_reference, effects_of
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.results.effect import BETTER, Effect
from hfprune.results.files import NEURONS
from hfprune.results.reader import Results
from hfprune.rounding import percent
from hfprune.statistics.estimates import ALPHA
from hfprune.study import paths

NUMBERS = ["value", "low", "high", "holm"]


class EffectsTable(TablePublication):
    """Methods with their effects on all outcomes, and how far they agree with the reference on neurons."""

    order = 14
    reads = (paths.EFFECTS, NEURONS)
    empty = "No two methods were measured at the same ratio."

    def make(self, data: Results) -> Table:
        """Lay out one row per method, and one per further draw of the reference, with its agreement alone."""
        effects = beside_reference(data)
        rows = _rows(data, effects)
        looks, outcomes = looks_of(data), data.declared.first_outcomes()
        draws = ["" if pd.isna(draw) else f", draw {draw:.0f}" for draw in rows["draw"]]
        methods = [looks[method].label + draw for method, draw in zip(rows["method"], draws, strict=True)]
        references = [looks[name].label for name in rows["reference"]]
        places = effects[[*AT, "outcome"]].itertuples(index=False, name=None)
        cells = dict(zip(places, map(_text, effects_of(effects)), strict=True))
        keys = [*rows[AT].itertuples(index=False, name=None)]
        alone = rows["draw"].notna().tolist()
        columns = [
            ratio_column(rows),
            *calibration_columns(rows),
            Column("Method", methods, words=True),
            *([Column("Reference", references, words=True)] if len({*references}) > 1 else []),
            Column("Differs in", words(rows["differs"]), words=True, prose=True),
            Column("Overlap", texts(rows["overlap"], "{:.2f}")),
            Column("Rank corr.", texts(rows["rank_correlation"], "{:z.2f}")),
            Column("Near the cut", [percent(round(share, 2)) or MISSING for share in rows["near_cut"]]),
        ]
        for name, declared in outcomes.items():
            shown = [
                MISSING if again else cells.get((*key, name), MISSING)
                for key, again in zip(keys, alone, strict=True)
            ]
            columns.append(Column(declared.heading, shown))
        columns = present(columns)
        return Table(rows, columns, [*_notes(data, references, [column.heading for column in columns])])


def _rows(data: Results, effects: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of the table: for each method, its agreement with the reference and its effects."""
    about = effects.rename(columns={"against": "reference"}).drop_duplicates(AT)
    wide = about[[*AT, "reference", "differs", "draws", "resamples"]].astype(TYPES)
    for name, part in effects.groupby("outcome", sort=False):
        named = part[[*AT, *NUMBERS]].rename(columns={number: f"{name} {number}" for number in NUMBERS})
        wide = wide.merge(named, "left", on=AT)
    agreement = agreement_on_neurons(data)
    agreed = ["overlap", "rank_correlation", "near_cut"]
    agreement = agreement.reindex(columns=[*AT, "reference", "draw", *agreed])
    agreement = agreement.astype(TYPES | {"draw": float})
    blank = {*data.blanks[AT].itertuples(index=False, name=None)}
    applicable = [at not in blank for at in agreement[AT].itertuples(index=False, name=None)]
    agreement = agreement.loc[applicable]
    beside = agreement[agreement["draw"].isna()].drop(columns="draw")
    rows = wide.merge(beside, "outer", on=[*AT, "reference"]).assign(draw=float("nan"))
    again = agreement[agreement["draw"].notna()].assign(differs="draw", draws=1)
    order = {key: place for place, key in enumerate(wide[AT].itertuples(index=False, name=None))}
    whole = pd.concat([rows, again], ignore_index=True).fillna({"differs": ""})
    places = [order.get(at, len(order)) for at in whole[AT].itertuples(index=False, name=None)]
    whole = whole.assign(place=places).sort_values([*GROUP, "place", "method", "draw"], kind="stable")
    return whole.drop(columns="place").reset_index(drop=True)


def _text(effect: Effect) -> str:
    """Return an effect in words, bold where it is better even by Holm's correction."""
    return f"**{effect}**" if effect.sure and effect.standing == BETTER else str(effect)


def _notes(data: Results, references: list[str], headings: list[str]) -> Iterator[str]:
    outcomes = data.declared.first_outcomes()
    yield (
        f"Reference: {' or '.join(dict.fromkeys(references))}, on the same draws and items; without recovery."
    )
    yield (
        "Differs in: the settings that differ from the reference's, without options that only one of the criteria "
        "has."
    )
    yield (
        "Means over layers: Overlap is the Jaccard index of the kept neurons, Rank corr. Spearman's "
        "correlation of the scores, and Near the cut the share of neurons kept by only one of the two "
        "that lie within a tenth of the layer's width from both cuts."
    )
    yield (
        "In brackets: 95 % interval over calibration draws and items (Student's t, lengthened by Hall's "
        "transformation on the side of a long tail); none for a single draw without resamples. *: significant "
        f"after Holm's correction for all models, methods, ratios and recoveries of the study (p < {ALPHA:g}). "
        "Bold: significant, and better than the reference."
    )
    for name, declared in outcomes.items():
        if declared.measure == data.study.primary and name:
            yield (
                f"Primary outcome, declared before the study ran: {declared.heading}. The others are secondary."
            )
    if "points" in outcomes and outcomes["points"].heading in headings:
        yield "Accuracy: the paper's average over tasks, which counts CrowS-Pairs, if present, as an accuracy."
    for family in data.study.corrected_together:
        together = [declared.heading for declared in outcomes.values() if declared.measure in family]
        yield f"Corrected together: {', '.join(together)}."
