"""Measured speed-ups beside what operations and weights promise, as a Markdown table."""

from findings.cited import Studies
from findings.markdown import unpadded
from findings.sources import SpeedOf
from hfprune.report.tradeoff import tradeoff

NUMBERS = {
    "prefill_speedup": "prefill",
    "prefill_by_flops": "by operations",
    "decode_speedup": "decoding",
    "decode_by_parameters": "by weights",
}


def table(studies: Studies, asked: SpeedOf) -> str:
    """Return the table of one study, a row a model and method."""
    data = studies.results(asked.study)
    rows = studies.named(tradeoff(data.levels, data.declared))
    rows = rows[rows["method"].isin(asked.methods)]
    lines = [
        [
            row.model,
            studies.label(asked.study, row.method),
            *(f"{getattr(row, name):.2f}" for name in NUMBERS),
        ]
        for row in rows.itertuples()
    ]
    return unpadded(lines, ["model", "method", *NUMBERS.values()])
