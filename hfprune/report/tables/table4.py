"""Inference: latency of prefill, throughput of decoding, and FLOPs. The paper's Table 4 beside ours."""

from hfprune.paper.printed import AVERAGE
from hfprune.report.papers import PaperTable


class Table4(PaperTable):
    """Times and operations with and without recovery, and their ratios to the dense model's."""

    order = 4
    keys = (
        *("parameters", AVERAGE, "prefill_latency", "prefill_speedup"),
        *("decode_throughput", "decode_gain", "prefill_flops", "flops_saved"),
    )
    notes = (
        "Speed-up, gain and FLOPs saved: relative to the dense model, which ours are timed in turns "
        "with. If the study's `latency` has `align`, times are of widths padded to its multiples, and "
        "parameters and FLOPs of the widths that were kept.",
    )
