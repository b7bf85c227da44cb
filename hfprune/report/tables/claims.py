"""The paper's claims: number of comparisons by verdict."""

from operator import add

import pandas as pd

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.effects.condition import (
    ARITHMETIC,
    DETECTABLE,
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    NOT_RUN,
    THRESHOLD,
    VERDICTS,
)
from hfprune.report.cells import calibration_columns, counts, ratio_column, texts, words
from hfprune.report.effects import effects_of
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.results.effect import Effect
from hfprune.results.reader import Results
from hfprune.study import paths


class ClaimsTable(TablePublication):
    """Counts of verdicts by claim, followed by a table for each claim with its comparisons."""

    order = 13
    reads = (paths.CLAIMS,)
    empty = "The paper has no claims."

    def make(self, data: Results) -> Table:
        rows = data.claims
        claims = rows.drop_duplicates("claim").set_index("claim")
        verdicts = pd.crosstab(rows["claim"], rows["verdict"])
        verdicts = verdicts.reindex(index=claims.index, columns=[*VERDICTS], fill_value=0)
        follows = claims["basis"] == ARITHMETIC
        follow = follows.map({True: " (Follows from the parameter budget.)", False: ""})
        columns = [
            Column("Claim", (claims["sentence"] + follow).tolist(), words=True),
            *(Column(verdict.capitalize(), texts(verdicts[verdict], "{}")) for verdict in VERDICTS),
        ]
        notes = [
            "Reproduced: the whole 95 % interval of our effect is on the claimed side, also after Holm's "
            "correction for all claims of the study on its first calibration, or on its others. Contradicted:"
            " the same on the other side. Leaning towards, against: the interval is on that side, but the "
            "correction removes it. Equivalent: the interval is within the margin of the claim. Inconclusive:"
            " none of these. One draw: one calibration sample without resamples, so no interval. Not "
            "testable: an accuracy is not significantly above a guess or a constant answer, or the claim is "
            "about the memory of a GPU and was measured on a CPU. Not comparable: the sides were measured on "
            "different draws or items. Not applicable: a method could not cut the units that it names. True "
            "by arithmetic: follows from the parameter budget, and is no evidence. The published effect "
            "affects a verdict only if the claim is about it.",
            THRESHOLD,
        ]
        more = {claim: _comparisons(part) for claim, part in rows.groupby("claim", sort=False)}
        # Arithmetic is no evidence, and stands apart.
        numbers = verdicts.assign(arithmetic=follows).reset_index()
        return Table(numbers, columns, notes, groups=("arithmetic",), section="", more=more)


def _comparisons(rows: pd.DataFrame) -> Table:
    effects = effects_of(rows, Effect.of_claim)
    doubts = [f" ({word})" if word in ("suspect", "tentative") else "" for word in rows["confidence"]]
    resamples = [f" + {count} resamples" if count else "" for count in rows["resamples"]]
    needs, form = words(rows["needs"]), rows["form"].iloc[0]
    columns = [
        Column("Model", rows["model"].tolist(), words=True),
        Column("Kind", rows["kind"].tolist(), words=True),
        *calibration_columns(rows),
        *([ratio_column(rows)] if rows["ratio"].notna().any() else []),
        *([Column("Metric", rows["metric"].tolist(), words=True)] if rows["metric"].nunique() > 1 else []),
        Column("Effect", [effect.texts[0] or MISSING for effect in effects]),
        Column("95 % interval", [effect.texts[1] or MISSING for effect in effects]),
        Column("Published", [*map(add, texts(rows["published"], form), doubts)]),
        Column("Items", counts(rows["n"])),
        Column("Draws", [*map(add, counts(rows["draws"]), resamples)]),
        Column("Minimum detectable effect", texts(rows["detectable"], form.replace("+", ""))),
        Column("Holm's p", texts(rows["holm"], "{:.2g}")),
        Column("Verdict", rows["verdict"].tolist(), words=True),
        *([Column("It would take", needs, words=True, prose=True)] if any(needs) else []),
        Column("Note", words(rows["note"]), words=True, prose=True),
    ]
    caption = f"{rows['sentence'].iloc[0]} ({rows['where'].iloc[0]})"
    return Table(rows, columns, _notes(rows), (), "", caption)


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = [f"Effect: {rows['compares'].iloc[0]}; {rows['condition'].iloc[0]}."]
    run = rows[~rows["verdict"].isin([NOT_RUN, NOT_APPLICABLE, NOT_COMPARABLE])]
    if (run["n"] > 0).any():
        notes.append(
            "Interval: 95 %, paired, over calibration draws and items (Student's t, lengthened by Hall's "
            "transformation on the side of a long tail). The variance over draws comes from at least "
            f"{MIN_DRAWS} samples, from resamples, or from both. {DETECTABLE}"
        )
    anomalies = sorted({id_ for ids in words(rows["anomalies"]) for id_ in ids.split(", ") if id_})
    if anomalies:
        notes.append(f"Known anomalies: {', '.join(anomalies)}.")
    return notes
