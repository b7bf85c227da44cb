"""Measured speed-ups beside what operations and weights promise, as a Markdown table."""

from findings.cited import Studies

STUDY, METHODS = "families", ["entropy", "shortgpt"]
NUMBERS = {
    "prefill_speedup": "prefill",
    "prefill_by_flops": "by operations",
    "decode_speedup": "decoding",
    "decode_by_parameters": "by weights",
}


def table(studies: Studies) -> str:
    """Return the table of one study, a row a model and method."""
    rows = studies.table(STUDY, "tables/tradeoff.csv")
    heads = ["model", "method", *NUMBERS.values()]
    lines = [heads, ["---"] * len(heads)]
    for row in rows[rows["method"].isin(METHODS)].to_dict("records"):
        numbers = [f"{row[name]:.2f}" for name in NUMBERS]
        lines.append([row["model"], studies.label(STUDY, row["method"]), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
