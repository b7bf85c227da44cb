"""Quality against gain: what pruning costs, and how much faster and smaller models get."""

import numpy as np
import pandas as pd

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.results.averages import MEAN
from hfprune.results.declarations import Declarations

# Metric → the kind of its measure. Of each, lower is better.
QUALITIES = {"js_distance": "fidelity", "bpb": "gold_bpb"}
BYTES = {"disk_bytes": "storage"}
# Measured → theoretical, if time followed the operations of a prefill, or the weights that a decoding step reads.
THEORY = {
    "prefill_speedup": ("prefill_by_flops", "flops"),
    "decode_speedup": ("decode_by_parameters", "parameters"),
}
# The label of the parameters, which no measure declares.
PARAMETERS = "Parameters"
BARE = ["parameters", "memory_bytes", "flops"]
CELL = ["model", "calibration", "sequences", "method", "ratio"]


def label(metric: str, declared: Declarations) -> str:
    """Return the name of a quality or a gain for readers."""
    kind = (QUALITIES | BYTES).get(metric, "latency")
    if metric == "parameters_kept":
        return PARAMETERS
    return declared.find(declared.first(kind), metric).metric.label


def tradeoff(levels: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return one row per cell, over draws, whose latency was measured, and one per dense model.

    Recovered models are left out, since an adapter changes no shape.

    Returns:
        The columns of `CELL`; the metrics of `QUALITIES` (the dense model's distance to itself is 0);
        `parameters`, `memory_bytes` (bytes), `flops` and the metrics of `BYTES` as measured; `prefill_speedup`,
        `decode_speedup` and `parameters_kept` relative to the dense model, which has 1. `<metric>_low` and
        `<metric>_high` are the ends of the 95 % interval of qualities and speed-ups; that of a speed-up is over
        draws, each measured by its own process, and symmetric in the logarithm. The theoretical speed-ups of
        `THEORY` are the dense model's operations or parameters divided by the pruned one's.
    """
    plain = levels[(levels["recovery"] == Recovery.NONE) & levels["ratio"].notna()]
    wide = _wide(plain[plain["measure"] == declared.first("latency")], [*THEORY, *BARE])
    columns = [*QUALITIES, *BYTES, *THEORY, *BARE]
    for metric, kind in (QUALITIES | BYTES).items():
        rows = plain[(plain["measure"] == declared.first(kind)) & (plain["metric"] == metric)]
        if rows["task"].nunique() > 1:
            rows = rows[rows["task"] == MEAN]
        wide = wide.join(_wide(rows, [metric]))
    bounds = [f"{name}_{end}" for name in (*QUALITIES, *THEORY) for end in ("low", "high")]
    wide = wide.reindex(columns=[*columns, *bounds]).astype(float)
    table = wide.reset_index().sort_values(
        ["model", "ratio", "method", "calibration", "sequences"], ignore_index=True
    )
    dense = table["method"] == DENSE
    if dense.all():
        table, dense = table[:0], dense[:0]
    for name, own in {"js_distance": 0.0, **dict.fromkeys(THEORY, 1.0)}.items():
        if table[name].notna().any():
            table.loc[dense, name] = own
    dense_numbers = {
        name: table["model"].map(table[dense].set_index("model")[name]).astype(float) for name in BARE
    }
    table["parameters_kept"] = table["parameters"] / dense_numbers["parameters"]
    for name, bare in THEORY.values():
        table[name] = dense_numbers[bare] / table[bare]
    return table


def front(points: pd.DataFrame, better: str) -> pd.DataFrame:
    """Return the points (`place`, `value`) of the Pareto front, the best place first.

    No other point is as good or better in both place, in the direction `better`, and value, where lower is better.
    """
    ordered = points.sort_values(["place", "value"], ascending=[better == "lower", True])
    return ordered[ordered["value"] < ordered["value"].cummin().shift(fill_value=np.inf)]


def _wide(rows: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    rows = rows[rows["metric"].isin(metrics)]
    parts = [
        rows.pivot_table(values, CELL, "metric", dropna=False).dropna(how="all").add_suffix(suffix)
        for values, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
    ]
    return parts[0].join(parts[1:])
