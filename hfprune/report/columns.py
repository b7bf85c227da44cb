"""The columns of the paper's tables, and our rows in each table."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from hfprune.analysis.averages import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.paper.published import NOT_AVERAGED
from hfprune.results import DENSE
from hfprune.study import layout

# Kind of measure and metric → the paper's metric, our scale, and the number to add after scaling.
PAPERS_UNITS = {
    ("size", "parameters"): ("parameters", 1e-9, 0),
    ("latency", "prefill_seconds"): ("prefill_latency", 1e3, 0),
    ("latency", "prefill_speedup"): ("prefill_speedup", 1, 0),
    ("latency", "decode_tokens_per_second"): ("decode_throughput", 1, 0),
    ("latency", "decode_speedup"): ("decode_gain", 100, -100),
    ("latency", "flops"): ("prefill_flops", 1e-12, 0),
    ("cost", "seconds"): ("seconds", 1, 0),
    ("cost", "peak_memory_bytes"): ("peak_memory", 1e-9, 0),
    ("cost", "sequences"): ("sequences", 1, 0),
    ("cost", "agreement"): ("agreement", 1, 0),
}
# Metrics that follow from another one of a row and of the row with the reference method.
FOLLOWING: dict[str, tuple[str, str, Callable[[pd.Series, pd.Series], pd.Series]]] = {
    "flops_saved": ("prefill_flops", DENSE, lambda dense, pruned: 100 * (1 - pruned / dense)),
    "seconds_to_entropy": ("seconds", "entropy", lambda entropy, other: other / entropy),
    "memory_to_entropy": ("peak_memory", "entropy", lambda entropy, other: other / entropy),
}


def low(values: pd.Series) -> pd.Series:
    """Return the penalty of values that are better the lower they are."""
    return values


def high(values: pd.Series) -> pd.Series:
    """Return the penalty of values that are better the higher they are."""
    return -values


def near_half(values: pd.Series) -> pd.Series:
    """Return the penalty of percentages that are best at 50."""
    return (values - 50).abs()


@dataclass(frozen=True)
class Column:
    """A column of numbers: its heading, and the format of a number.

    The pruned method with the smallest `penalty` is the best of its group; without a penalty none is. Errors of a
    `logarithmic` number multiply.
    """

    heading: str
    shown: str = "{:.1f}"
    penalty: Callable[[pd.Series], pd.Series] | None = None
    with_spread: bool = True
    logarithmic: bool = False


PAPERS_COLUMNS = {
    AVERAGE: Column("Average", penalty=high),
    AVERAGE_WITHOUT_CROWS: Column("w/o Crows", penalty=high),
    "parameters": Column("Params (B)", "{:.3g}", with_spread=False),
    "prefill_latency": Column("Prefill (ms)"),
    "prefill_speedup": Column("Speed-up", "{:.2f}"),
    "decode_throughput": Column("Decode (tok/s)"),
    "decode_gain": Column("Gain (%)"),
    "prefill_flops": Column("TFLOPs", "{:.3g}", with_spread=False),
    "flops_saved": Column("Saved (%)", with_spread=False),
    "seconds": Column("Time (s)"),
    "seconds_to_entropy": Column("Time / Entropy", "{:.2f}", with_spread=False),
    "peak_memory": Column("Peak memory (GB)", "{:.2f}"),
    "memory_to_entropy": Column("Memory / Entropy", "{:.2f}", with_spread=False),
    "sequences": Column("Sequences", "{:,.0f}", with_spread=False),
    "agreement": Column("Agreement", "{:.3f}", with_spread=False),
}
OUTPUT = {  # metric of the outputs without its top<k>_ → its format and penalty, in the order of the columns
    "js_distance": ("{:.3f}", low),
    "jaccard": ("{:.3f}", high),
    "kl_divergence": ("{:.3f}", low),
    "perplexity": ("{:,.2f}", low),
}
PER_TASK, OUTPUTS = (
    "tasks",
    "outputs",
)  # stand for a column per task, and per metric and corpus of the outputs


@dataclass(frozen=True)
class Spec:
    """A table of the paper: its columns, and our rows in it."""

    caption: str
    columns: tuple[str, ...]
    """Keys of `PAPERS_COLUMNS`, `PER_TASK` or `OUTPUTS`; columns without a number are left out."""
    ours: str = ""
    """Condition on our rows, as `DataFrame.query` takes it."""
    own_models: bool = False
    """Whether a model of the paper appears only if the published table has it."""
    without: tuple[str, ...] = ()
    """Tasks that neither appear nor count in the average."""
    notes: tuple[str, ...] = ()


ACCURACY = (PER_TASK, AVERAGE, AVERAGE_WITHOUT_CROWS)
INFERENCE = (
    *("parameters", AVERAGE, "prefill_latency", "prefill_speedup"),
    *("decode_throughput", "decode_gain", "prefill_flops", "flops_saved"),
)
COST_COLUMNS = (
    *("seconds", "seconds_to_entropy", "peak_memory", "memory_to_entropy"),
    *("sequences", "agreement"),
)
WITH_RECOVERY = f"recovery != 'none' or method == '{DENSE}'"
SPECS = dict(
    zip(
        layout.PAPER_TABLES,
        (
            Spec(
                "Zero-shot accuracy (%) of LLaMA-2-7B after recovery.",
                ACCURACY,
                WITH_RECOVERY,
                own_models=True,
            ),
            Spec(
                "Parameters and average accuracy (%) of LLaMA-3.2 after recovery.",
                ("parameters", AVERAGE, AVERAGE_WITHOUT_CROWS),
                WITH_RECOVERY,
                own_models=True,
            ),
            Spec("Zero-shot accuracy (%) of Qwen after recovery.", ACCURACY, WITH_RECOVERY, own_models=True),
            Spec(
                "Inference: latency of prefill, throughput of decoding, and FLOPs.",
                INFERENCE,
                notes=(
                    "Speed-up, gain and FLOPs saved: against the dense model; ours are timed in turns with it.",
                ),
            ),
            Spec(
                "Cost of scoring the neurons.",
                COST_COLUMNS,
                notes=(
                    "Multiples of entropy's cost follow from the numbers beside them, in the paper's rows too.",
                    "GB: a billion bytes in ours; the paper does not say.",
                    "Scores are computed once and serve every ratio.",
                    "Agreement: share of the neurons kept by one half of the calibration that the other half "
                    "keeps too, both cut to half the width.",
                ),
            ),
            Spec("Zero-shot accuracy (%) without recovery, by criterion.", ACCURACY, "recovery == 'none'"),
            Spec("Distance of the pruned models' outputs to the dense model's.", (OUTPUTS,)),
            Spec(
                "MLP only against attention and MLP at equal total parameters: zero-shot accuracy (%).",
                ACCURACY,
                f"method in ['{DENSE}', 'entropy', 'entropy_attention']",
                without=NOT_AVERAGED[8],
                notes=("TruthfulQA is left out of the averages, as in the paper's table.",),
            ),
        ),
        strict=True,
    )
)
