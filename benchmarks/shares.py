"""Where the time of scoring and of recovery goes: shares of matrix products, attention's kernels and all else.

Profiles scoring by entropy at 1,024 tokens, and three steps of `recovery.py`, in either dtype, on one thread, with
`torch.profiler`. Writes `shares.md`. A GPU's kernels have other names, so it is for processors.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import recovery
import torch
from bench import tokens
from torch.profiler import ProfilerActivity, profile

from hfprune.criteria.entropy import Entropy
from hfprune.models.load import load_model
from hfprune.scoring.score import score

PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
ATTENTION = "_scaled_dot_product_"
NOTE = """`python benchmarks/shares.py` wrote this table: shares of the time of operations, on one thread, by
`torch.profiler`. Shares depend on the machine."""


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Return the share of each kind of operation in the time that a second run spends in operations."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as made:
        run()
    times = {event.key: event.self_cpu_time_total for event in made.key_averages()}
    products = sum(time for name, time in times.items() if name in PRODUCTS)
    attention = sum(time for name, time in times.items() if ATTENTION in name)
    whole = sum(times.values())
    return {
        "products": products / whole,
        "attention": attention / whole,
        "all else": (whole - products - attention) / whole,
    }


def main() -> None:
    """Profile all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("resources/models/smollm2-135m-instruct-q4"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for dtype in ("float32", "bfloat16"):
        model = load_model(arguments.model, dtype)
        packed, blocks = recovery.sequences(model), tokens(model, 1, 1024)
        works = {
            "recovery, 3 steps of 512 tokens": partial(recovery.ours, model, packed, recovery.SETTINGS),
            "scoring by entropy, 1024 tokens": partial(score, {"entropy": Entropy()}, model, blocks),
        }
        rows += [{"work": name, "dtype": dtype, **shares(run)} for name, run in works.items()]
    text = pd.DataFrame(rows).to_markdown(index=False, floatfmt=".0%")
    arguments.out.write_text(f"# Shares of the time\n\n{NOTE}\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
