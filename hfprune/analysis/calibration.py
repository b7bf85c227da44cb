"""What more calibration buys: agreement, distance to the dense model and perplexity by sequences read."""

import pandas as pd

from hfprune.analysis.averages import half_width, over_seeds
from hfprune.analysis.style import metric_label
from hfprune.analysis.typeset import Table

SCORED = ["criterion", "parts", "corpus", "allocation"]  # what was scored, on what, and shared out how
OUTCOMES = {"js_distance": "{:.3f} ± {:.3f}", "perplexity": "{:,.1f} ± {:,.1f}"}


def by_sequences(results: pd.DataFrame, marks: pd.DataFrame) -> pd.DataFrame:
    """Return one row per scored method and ratio, in the order of the sequences that its criterion read.

    Args:
        results: the tidy table.
        marks: the `calibration.csv` of `hfprune.analysis.collect.collect`.

    Returns:
        `model, criterion, parts, corpus, allocation, ratio, sequences, method, agreement` (means over seeds), and
        for each of `OUTCOMES` its value, the standard error as `<metric>_stderr`, and half the 95 % interval as
        `<metric>_half`. Methods that differ only in how many sequences they read share the first five.
    """
    of = ["model", "method", *SCORED]
    ends = marks.sort_values("sequences").groupby([*of, "seed"]).last()
    ends = ends.groupby(of)[["sequences", "agreement"]].mean().reset_index()
    found = over_seeds(results[results["metric"].isin(OUTCOMES) & (results["recovery"] == "none")])
    found["half"] = half_width(found)
    index = ["model", "method", "ratio"]
    kinds = {"value": "", "stderr": "_stderr", "half": "_half"}
    wide = found.pivot_table([*kinds], index, "metric", dropna=False).dropna(how="all")
    wide.columns = [metric + kinds[kind] for kind, metric in wide.columns]
    columns = [metric + end for metric in OUTCOMES for end in kinds.values()]
    rows = ends.merge(wide.reindex(columns=columns).reset_index(), on=["model", "method"])
    keys = ["model", *SCORED, "ratio", "sequences"]
    return rows.sort_values(keys, ignore_index=True)[[*keys, "method", "agreement", *columns]]


def calibration_table(results: pd.DataFrame, marks: pd.DataFrame) -> Table:
    """Make the table of `by_sequences`."""
    numbers = by_sequences(results, marks)
    shown_parts = [name for name in SCORED if name == "criterion" or numbers[name].nunique() > 1]
    shown = pd.DataFrame(
        {
            "Model": numbers["model"],
            **{name.capitalize(): numbers[name] for name in shown_parts},
            "Ratio": [f"{100 * ratio:.3g}%" for ratio in numbers["ratio"]],
            "Sequences": [f"{sequences:,.0f}" for sequences in numbers["sequences"]],
            "Agreement": [f"{agreement:.3f}" for agreement in numbers["agreement"]],
        }
    )
    for metric, text in OUTCOMES.items():
        pairs = zip(numbers[metric], numbers[f"{metric}_stderr"], strict=True)
        shown[metric_label(metric)] = [_text(text, *pair) for pair in pairs]
    groups = numbers.groupby(["model", *SCORED, "ratio"], sort=False).ngroup()
    return Table(
        "What more calibration buys: by number of sequences that a criterion read.",
        numbers,
        shown,
        groups,
        [
            "Agreement: of the neurons that one half of what was read keeps, the share that the other keeps too, "
            "both cut to half the width.",
            "±: standard error over documents.",
        ],
    )


def _text(form: str, value: float, stderr: float) -> str:
    if pd.isna(value):
        return "–"
    return form.format(value, stderr) if pd.notna(stderr) else form.partition(" ±")[0].format(value)
