"""The verdicts on the paper's claims as CSV, Markdown and LaTeX."""

from pathlib import Path

import numpy as np
import pandas as pd

from hfprune.analysis.verdicts import NOT_APPLICABLE, NOT_RUN, VERDICTS, evaluate
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
    rows, by_task = evaluate(paper, study, name, folder, out)
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
    shown["Claim"] = [claim.sentence for claim in paper.claims]
    notes = [
        "Reproduced: the whole 95 % interval of our effect is on the claimed side; contradicted: on the other; "
        "inconclusive: it covers both sides, or there is no interval; not applicable: a method could not cut "
        "the units that it names. "
        "Published effects are shown beside ours and affect no verdict. "
        "Intervals are not corrected for multiple comparisons: of a hundred without an effect, five would "
        "show one."
    ]
    groups = pd.Series(0, shown.index)
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
    for name, heading in {"n": "Items", "seeds": "Seeds"}.items():
        shown[heading] = [f"{count:,}" if count else MISSING for count in rows[name]]
    shown["Verdict"], shown["Note"] = rows["verdict"], rows["note"]
    return Table(
        f"{claim.sentence} ({claim.where})", rows, shown, pd.Series(0, rows.index), _notes(claim, rows)
    )


def _number(value: float, digits: int) -> str:
    return MISSING if np.isnan(value) else f"{value:.{digits}f}"


def _notes(claim: Claim, rows: pd.DataFrame) -> list[str]:
    """Explain the effect, the condition of the claim, and the interval."""
    left, right = (" or ".join(side.methods) for side in (claim.left, claim.right))
    effect = f"{left} {'-' if claim.effect == 'difference' else '/'} {right}, {claim.metric}"
    if claim.beyond is not None:
        effect += f", less the same at {100 * claim.beyond:.3g} %"
    side = "above" if claim.relation == "higher" else "below"
    notes = [f"Effect: {effect}; the claim holds {side} {claim.threshold:g}."]
    run = rows[~rows["verdict"].isin([NOT_RUN, NOT_APPLICABLE])]
    if (run["n"] > 0).any():
        several = "and seeds" if (run["seeds"] > 1).any() else "alone, as there is one seed"
        notes.append(f"Interval: paired bootstrap over items {several}.")
    anomalies = sorted({id_ for ids in rows["anomalies"] for id_ in ids.split(", ") if id_})
    if anomalies:
        notes.append(f"Known anomalies: {', '.join(anomalies)}.")
    return notes
