"""The table of agreement and outcomes by the sequences that criteria read."""

import pandas as pd

from hfprune.analysis.declarations import Declarations
from hfprune.analysis.settling import SCORED, SHARES, by_sequences
from hfprune.report.style import metric_label
from hfprune.report.typeset import Table

SHOWN = {"js_distance": "{:.3f} ± {:.3f}", "perplexity": "{:,.1f} ± {:,.1f}"}


def calibration_table(results: pd.DataFrame, marks: pd.DataFrame, declared: Declarations) -> Table:
    """Make the table of `hfprune.analysis.settling.by_sequences`."""
    numbers = by_sequences(results, marks, declared)
    shown_parts = [name for name in SCORED if name == "criterion" or numbers[name].nunique() > 1]
    shown = pd.DataFrame(
        {
            "Model": numbers["model"],
            **{name.capitalize(): numbers[name] for name in shown_parts},
            "Ratio": [f"{100 * ratio:.3g}%" for ratio in numbers["ratio"]],
            "Sequences": [f"{sequences:,.0f}" for sequences in numbers["sequences"]],
            "Agreement": [f"{agreement:.3f}" for agreement in numbers["agreement"]],
            "Settled": [f"{share:.3f}" for share in numbers["settled"]],
            **{f"For {share:.0%}": [_count(n) for n in numbers[name]] for name, share in SHARES.items()},
        }
    )
    for metric, text in SHOWN.items():
        pairs = zip(numbers[metric], numbers[f"{metric}_stderr"], strict=True)
        shown[metric_label(metric)] = [_text(text, *pair) for pair in pairs]
    groups = numbers.groupby(["model", *SCORED, "ratio"], sort=False).ngroup()
    return Table(
        "The gain from more calibration, by the number of sequences that a criterion read.",
        numbers,
        shown,
        groups,
        [
            "Agreement: share of the neurons kept by one half of the sequences that the other half keeps too, "
            "both cut to half the width.",
            "Settled: share of the neurons of the settled plan, that of a calibration without end, that the plan "
            "of all sequences keeps, as the agreement implies. For 95%, 99%: sequences that give these shares.",
            "±: standard error over documents.",
        ],
    )


def _count(sequences: float) -> str:
    return "–" if pd.isna(sequences) else f"{sequences:,.0f}"


def _text(form: str, value: float, stderr: float) -> str:
    if pd.isna(value):
        return "–"
    return form.format(value, stderr) if pd.notna(stderr) else form.partition(" ±")[0].format(value)
