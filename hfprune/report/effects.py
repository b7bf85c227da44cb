"""Selections of a study's table of effects, for tables, figures and pages."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from hfprune.effects.questions import REFERENCE
from hfprune.results.effect import DIRECTIONS, Effect
from hfprune.results.reader import Results
from hfprune.study.reference import reference_of

GROUP = ["model", "calibrated", "ratio"]  # within which methods are compared
AT = [*GROUP, "method"]  # identifies a row of one question, without recovery
TYPES = {"ratio": float, "calibrated": str}  # tables without a row have columns without a type


def effects_of(
    rows: pd.DataFrame, read: Callable[[Mapping[str, Any]], Effect] = Effect.of_row
) -> list[Effect]:
    """Return the effects of rows of `effects.csv` or, with `Effect.of_claim` as `read`, of the paper's claims."""
    return [read(row) for row in rows.to_dict("records")]


def beside_reference(data: Results) -> pd.DataFrame:
    """Return the effects of methods beside their references, without recovery, on each measure's first outcome.

    By model and ratio the best method comes first, by the study's primary outcome or else the first measured one.
    """
    rows = data.effects
    rows = rows[(rows["question"] == REFERENCE) & (rows["recovery"] == "none") & (rows["task"] == "")]
    rows = rows[rows["outcome"].isin(data.declared.first_outcomes())]
    return rows.iloc[_best_first(rows, ranking(data, rows))]


def agreement_on_neurons(data: Results) -> pd.DataFrame:
    """Return the agreement of methods with their references, and of each draw of a reference with its first."""
    references = {reference_of(data.study, method) for method in data.study.methods}
    rows = data.neurons
    return rows[rows["draw"].isna() | rows["method"].isin(references)]


def ranking(data: Results, rows: pd.DataFrame) -> str:
    """Return the outcome that ranks methods: the study's primary one, or the first that was measured; or ""."""
    there, outcomes = {*rows["outcome"]}, data.declared.first_outcomes()
    primary = [name for name, declared in outcomes.items() if declared.measure == data.study.primary]
    return next((name for name in (*primary, *outcomes) if name in there), "")


def _best_first(rows: pd.DataFrame, outcome: str) -> np.ndarray:
    ranked = rows[rows["outcome"] == outcome]
    penalty = -ranked["value"] * ranked["better"].map(DIRECTIONS).astype(float).fillna(0)
    penalties = dict(zip(ranked[AT].itertuples(index=False, name=None), penalty, strict=True))
    by_row = [penalties.get(at, np.inf) for at in rows[AT].itertuples(index=False, name=None)]
    order = rows[GROUP].assign(penalty=by_row, place=np.arange(len(rows)))
    return order.sort_values([*GROUP, "penalty", "place"])["place"].to_numpy()
