"""How many calibration sequences keep a share of the units that a calibration without end would keep.

Scores are taken as those of a calibration without end plus noise whose variance falls with the number of
sequences, and their ranks as those of normal variables. Then the agreement of two halves of the sequences gives
the ratio of noise to signal (Spearman, 1910; Brown, 1910), and the ratio gives the share.
"""

import numpy as np
import pandas as pd

from hfprune.analysis.averages import half_width, over_seeds
from hfprune.analysis.declarations import Declarations

# The allocation is the budget's division among layers.
SCORED = ["criterion", "units", "corpus", "allocation"]
OUTCOMES = {"js_distance": "fidelity", "perplexity": "perplexity"}  # metric → kind of measure
SHARES = {"sequences_95": 0.95, "sequences_99": 0.99}  # column → share of the units kept


def share_kept(agreement: float, sequences: float) -> float:
    """Return the share of the units of a plan that a calibration without end would keep, too.

    Args:
        agreement: share of the units kept by one half of the sequences that the other half keeps, too.
        sequences: number of both halves together.
    """
    return _shared(np.sqrt(sequences / (sequences + _noise(agreement, sequences))))


def sequences_for(share: float, agreement: float, sequences: float) -> float:
    """Return how many sequences give this share; see `share_kept`."""
    square = _correlation(share) ** 2
    return _noise(agreement, sequences) * square / (1 - square)


def _noise(agreement: float, sequences: float) -> float:
    """Return the number of sequences with as much noise as signal."""
    correlation = _correlation(agreement)
    return sequences / 2 * (1 / correlation - 1) if correlation > 0 else np.inf


def _shared(correlation: float) -> float:
    """Return the share of the higher half that two normal variables have in common (Sheppard, 1899).

    Halves are compared at this fraction (`hfprune.scoring.folds.KEPT_FRACTION`), which makes the formula so short.
    """
    return 0.5 + float(np.arcsin(correlation)) / np.pi


def _correlation(share: float) -> float:
    """Return the correlation of two normal variables that have a share of the higher half in common."""
    return float(np.sin(np.pi * (min(max(share, 0.5), 1) - 0.5)))


def by_sequences(results: pd.DataFrame, marks: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return one row per scored method and ratio, in the order of the sequences that its criterion read.

    Args:
        results: the tidy table.
        marks: the `calibration.csv` of `hfprune.analysis.collect.collect`.
        declared: decides which measure represents each kind that `OUTCOMES` names.

    Returns:
        `model, criterion, units, corpus, allocation, ratio, sequences, method, agreement` (means over seeds);
        `settled`, by `share_kept`, and by `SHARES` the sequences that give a share, none if halves agree no more
        than by chance or wholly; and for each of `OUTCOMES` its value, the standard error as `<metric>_stderr`,
        and half the 95 % interval as `<metric>_half`. Methods that differ only in their number of sequences share
        the first five.
    """
    of = ["model", "method", *SCORED]
    ends = marks.sort_values("sequences").groupby([*of, "seed"]).last()
    ends = ends.groupby(of)[["sequences", "agreement"]].mean().reset_index()
    counts = [*zip(ends["agreement"], ends["sequences"], strict=True)]
    ends["settled"] = [share_kept(*pair) for pair in counts]
    for name, share in SHARES.items():
        needed = pd.Series([sequences_for(share, *pair) for pair in counts], ends.index, dtype=float)
        ends[name] = needed.where(np.isfinite(needed) & (needed > 0))
    wanted = [
        results["measure"].eq(declared.first(kind)) & results["metric"].eq(metric)
        for metric, kind in OUTCOMES.items()
    ]
    found = over_seeds(results[np.logical_or.reduce(wanted) & (results["recovery"] == "none")])
    found["half"] = half_width(found)
    kinds = {"value": "", "stderr": "_stderr", "half": "_half"}
    wide = found.pivot_table([*kinds], ["model", "method", "ratio"], "metric", dropna=False).dropna(how="all")
    wide.columns = [metric + kinds[kind] for kind, metric in wide.columns]
    columns = [metric + end for metric in OUTCOMES for end in kinds.values()]
    rows = ends.merge(wide.reindex(columns=columns).reset_index(), on=["model", "method"])
    keys = ["model", *SCORED, "ratio", "sequences"]
    columns = [*keys, "method", "agreement", "settled", *SHARES, *columns]
    return rows.sort_values(keys, ignore_index=True)[columns]
