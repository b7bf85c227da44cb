"""Agreement and outcomes of scored methods, by the number of calibration sequences that were read."""

import numpy as np
import pandas as pd

from hfprune.analysis.averages import half_width, over_seeds
from hfprune.analysis.declarations import Declarations

# The allocation is the budget's division among layers.
SCORED = ["criterion", "units", "corpus", "allocation"]
OUTCOMES = {"js_distance": "fidelity", "perplexity": "perplexity"}  # metric → kind of measure


def by_sequences(results: pd.DataFrame, marks: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return one row per scored method and ratio, in the order of the sequences that its criterion read.

    Returns:
        `model, criterion, units, corpus, allocation, ratio, sequences, method, agreement` (means over seeds);
        and for each of `OUTCOMES` its value, the standard error as `<metric>_stderr`, and half the 95 % interval
        as `<metric>_half`. Methods that differ only in their number of sequences share the first five.
    """
    of = ["model", "method", *SCORED]
    ends = marks.sort_values("sequences").groupby([*of, "seed"]).last()
    ends = ends.groupby(of)[["sequences", "agreement"]].mean().reset_index()
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
    columns = [*keys, "method", "agreement", *columns]
    return rows.sort_values(keys, ignore_index=True)[columns]
