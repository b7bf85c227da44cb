"""The table of quality against speed and size, with the Pareto fronts."""

from collections.abc import Mapping

import pandas as pd

from hfprune.analysis.declarations import Declarations
from hfprune.analysis.tradeoff import THEORY, front_name, tradeoff
from hfprune.report.style import Look
from hfprune.report.typeset import MISSING, Table

QUALITY_LABELS = {"js_distance": "JS distance", "bpb": "Gold bits/byte"}
# Headings of the columns of words (`hfprune.report.typeset.LEFT`).
FRONTS = {"js_distance": "Front, JS", "bpb": "Front, bits/byte"}
GAIN_LABELS = {
    "prefill_speedup": "Prefill speed-up",
    "decode_speedup": "Decode speed-up",
    "parameters_kept": "Parameters",
    "memory_kept": "Memory",
}
_THEORY_LABELS = {"prefill_by_flops": "by FLOPs", "decode_by_parameters": "by parameters"}
_SHORT = {gain: label.partition(" ")[0].lower() for gain, label in GAIN_LABELS.items()}
_CAPTION = "Quality against speed and size: what pruning costs, and what a user gains."
_NOTES = [
    "Speed-ups: measured, in turns with the dense model. By FLOPs, by parameters: what they would be if a prefill "
    "took time in proportion to its operations, and a decoding step to the weights that it reads.",
    "Memory: the weights, and the KV cache of the prompts whose decoding is timed.",
    "Front: no other cell of the model, at any ratio, is at least as good in both quality and gain and better in "
    "one. It goes by the numbers alone; cells whose intervals overlap may change places.",
    "±: half the 95 % interval, over documents or repeats and, with several seeds, draws.",
]


def tradeoff_table(
    results: pd.DataFrame, declared: Declarations, units: pd.DataFrame, names: Mapping[str, Look]
) -> Table:
    """Make the table of `hfprune.analysis.tradeoff`.

    Args:
        results: the tidy table, without cells that are not applicable.
        declared: the declarations of its measures.
        units: the `calibration.csv` of `collect`: what each method removes, as far as it says so.
        names: the look of every method.
    """
    numbers = tradeoff(results, declared)
    numbers = numbers.sort_values(
        ["model", "ratio", "method"],
        key=lambda part: part.map([*names].index) if part.name == "method" else part,
        ignore_index=True,
    )
    of = units.drop_duplicates(["model", "method"])[["model", "method", "units"]]
    numbers.insert(3, "units", numbers[["model", "method"]].merge(of, "left")["units"].fillna(""))
    if numbers.empty:
        empty = pd.DataFrame(columns=["Ratio", "Method"], dtype=str)
        return Table(_CAPTION, numbers, empty, pd.Series(dtype=int), ["No latency was measured."])
    shown = pd.DataFrame(
        {
            "Ratio": [f"{100 * ratio:.3g}%" for ratio in numbers["ratio"]],
            "Method": [names[method].label for method in numbers["method"]],
            "Units": numbers["units"].replace("", MISSING),
            **{label: _column(numbers, name, "{:.3f}") for name, label in QUALITY_LABELS.items()},
            "Params (B)": _column(numbers, "parameters", "{:.3g}", 1e-9),
            "Memory (GB)": _column(numbers, "memory_bytes", "{:.3g}", 1e-9),
        }
    )
    for gain, (theory, _) in THEORY.items():
        if numbers[gain].notna().any():
            shown[GAIN_LABELS[gain]] = _column(numbers, gain, "{:.2f}")
            shown[_THEORY_LABELS[theory]] = _column(numbers, theory, "{:.2f}")
    for quality, heading in FRONTS.items():
        shown[heading] = [_front(row, quality) for _, row in numbers.iterrows()]
    missing = [name for name in shown if (shown[name] == MISSING).all()]
    groups = numbers.groupby(["model", "ratio"], sort=False).ngroup()
    return Table(_CAPTION, numbers, shown.drop(columns=missing), groups, _NOTES, numbers["model"])


def _column(numbers: pd.DataFrame, name: str, form: str, scale: float = 1) -> list[str]:
    halves = numbers.get(f"{name}_half", pd.Series(float("nan"), numbers.index))
    return [
        MISSING
        if pd.isna(value)
        else form.format(scale * value) + ("" if pd.isna(half) else f" ± {form.format(scale * half)}")
        for value, half in zip(numbers[name], halves, strict=True)
    ]


def _front(row: pd.Series, quality: str) -> str:
    """Name the gains on whose front with a quality a cell is."""
    return ", ".join(name for gain, name in _SHORT.items() if row[front_name(quality, gain)]) or MISSING
