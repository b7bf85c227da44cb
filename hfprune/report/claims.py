"""The verdicts on the paper's claims as CSV, Markdown and LaTeX."""

from pathlib import Path

import numpy as np
import pandas as pd

from hfprune.analysis.condition import NOT_APPLICABLE, NOT_COMPARABLE, NOT_RUN, VERDICTS
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.statistics import MIN_DRAWS
from hfprune.analysis.verdicts import evaluate
from hfprune.paper.claims import Claim, Paper
from hfprune.report.typeset import MISSING, Table, latex, markdown, write_texts
from hfprune.study import layout
from hfprune.study.study import Study


def write_claims(paper: Paper, study: Study, name: str, folder: Path, out: Path) -> pd.DataFrame:
    """Write `claims.csv`, `.md` and `.tex` and `claims_by_task.csv`, and return the rows of `claims.csv`.

    Args:
        paper: the claims, and the published numbers.
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells.
        out: folder of the output of `hfprune.analysis.collect.collect`, and of this function.

    Raises:
        HfpruneError: as `evaluate`.
    """
    rows, by_task = evaluate(paper, Evidence(study, name, folder, out))
    tables = [
        _summary(paper, rows),
        *(_table(claim, rows[rows["claim"] == claim.id]) for claim in paper.claims),
    ]
    name = layout.CLAIMS.removesuffix(".csv")
    labels = [name, *(f"{name}-{claim.id}" for claim in paper.claims)]
    texts = {
        "csv": _csv(rows),
        "md": "\n\n".join(map(markdown, tables)),
        "tex": "\n".join(latex(table, label) for table, label in zip(tables, labels, strict=True)),
    }
    write_texts(out, layout.CLAIMS_BY_TASK.removesuffix(".csv"), {"csv": _csv(by_task)})
    write_texts(out, name, texts)
    return rows


def _csv(rows: pd.DataFrame) -> str:
    return rows.to_csv(index=False, float_format="%.8g", lineterminator="\n")


def _summary(paper: Paper, rows: pd.DataFrame) -> Table:
    """Return the number of each claim's verdicts, over models, ratios and both averages."""
    counts = pd.crosstab(rows["claim"], rows["verdict"]).reindex(
        index=[claim.id for claim in paper.claims], columns=[*VERDICTS], fill_value=0
    )
    shown = counts.astype(str).reset_index().rename(columns=str.capitalize)
    shown["Claim"] = [
        claim.sentence + " (Follows from the budget by arithmetic.)" * claim.arithmetic
        for claim in paper.claims
    ]
    # Arithmetic is no evidence, and counts apart.
    groups = pd.Series([int(claim.arithmetic) for claim in paper.claims], shown.index)
    notes = [
        "Reproduced: the whole 95 % interval of our effect is on the claimed side; contradicted: on the other; "
        "equivalent: within the margin of the claim; inconclusive: none of these; one draw: calibrated once, "
        "without resampled calibrations, so that another draw might overturn any verdict; not comparable: the two "
        "sides were measured on different draws or items; not applicable: a method could not cut the units that "
        "it names. "
        "Published effects are shown beside ours; they affect a verdict only where the claim is about them. "
        "Intervals are not corrected for multiple comparisons: of a hundred without an effect, five would "
        "show one."
    ]
    return Table(
        "The paper's claims: number of comparisons by verdict.", counts.reset_index(), shown, groups, notes
    )


def _table(claim: Claim, rows: pd.DataFrame) -> Table:
    """Return all comparisons of one claim."""
    digits = 2 if set(rows["unit"]) <= {"points", "ratio"} else 4
    shown = rows[["model", "kind"]].rename(columns=str.capitalize)
    if rows["ratio"].notna().any():
        shown["Ratio"] = [f"{100 * at:.3g}%" for at in rows["ratio"]]
    if rows["metric"].nunique() > 1:
        shown["Metric"] = rows["metric"]
    shown["Effect"] = [_number(value, digits) for value in rows["effect"]]
    shown["95 % interval"] = [
        MISSING if np.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"
        for low, high in zip(rows["low"], rows["high"], strict=True)
    ]
    marks = rows["confidence"].where(rows["confidence"].isin(["suspect", "tentative"]), "")
    shown["Published"] = [
        _number(value, digits) + (f" ({mark})" if mark else "")
        for value, mark in zip(rows["published"], marks, strict=True)
    ]
    for name, heading in {"n": "Items", "draws": "Draws"}.items():
        shown[heading] = [f"{count:,}" if count else MISSING for count in rows[name]]
    shown["Draws"] += [f" + {count} resamples" if count else "" for count in rows["resamples"]]
    shown["Shown from"] = [_number(value, digits) for value in rows["minimum_detectable_effect"]]
    needs = ("; it would take " + rows["needs"]).where(rows["needs"] != "", "")
    shown["Verdict"], shown["Note"] = rows["verdict"] + needs, rows["note"]
    return Table(
        f"{claim.sentence} ({claim.where})", rows, shown, pd.Series(0, rows.index), _notes(claim, rows)
    )


def _number(value: float, digits: int) -> str:
    return MISSING if np.isnan(value) else f"{value:.{digits}f}"


def _notes(claim: Claim, rows: pd.DataFrame) -> list[str]:
    """Explain the effect, the condition of the claim, and the interval."""
    notes = [f"Effect: {claim.compares}; {claim.condition}."]
    run = rows[~rows["verdict"].isin([NOT_RUN, NOT_APPLICABLE, NOT_COMPARABLE])]
    if (run["n"] > 0).any():
        notes.append(
            "Interval: Student's t of a two-way variance over draws of the calibration and items, paired; the "
            f"variance over draws is that over seeds, from {MIN_DRAWS} of them, pooled with that over resampled "
            "calibrations where there are any. Shown from: the smallest distance from the threshold that this "
            "study would have shown in 80 % of repetitions"
            + (", as a factor." if claim.effect == "ratio" else ".")
        )
    anomalies = sorted({id_ for ids in rows["anomalies"] for id_ in ids.split(", ") if id_})
    if anomalies:
        notes.append(f"Known anomalies: {', '.join(anomalies)}.")
    return notes
