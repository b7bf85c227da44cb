"""Prune a model of your own: write a checkpoint, and a report of what was lost.

OUT/model is the pruned model with its card, OUT/report.html the comparison with the dense model, OUT/work
the intermediate files and, with --max-loss or --speedup, OUT/sweep.svg loss and speed against size. The same
command resumes after a kill; with other settings, it makes only what is missing.
"""

from typing import ClassVar

from hfprune.pruning.config import LIMITS, Pruning
from hfprune.stages import Command


class Prune(Command, Pruning):
    """One call from a dense model to a checkpoint, with the flags of `Pruning`."""

    example: ClassVar = (
        "hfprune prune --model qwen2.5-coder-0.5b-instruct-q4 --ratio auto --max-loss 20% --out pruned"
    )
    usage: ClassVar = (
        "hfprune prune --model MODEL --out OUT [flags]\n"
        "                     (--ratio RATIO | --max-loss MAX_LOSS | --speedup SPEEDUP |\n"
        "                      --params PARAMS | --size SIZE)"
    )
    # The flags by their headings in the help.
    groups: ClassVar = {
        "what to prune": ("model", "units"),
        "how much (one of these is required)": ("ratio", *LIMITS, "keep"),
        "how": (
            *("recipe", "criterion", "options", "allocation", "align", "plain", "linear", "recover"),
            *("keep_recovery", "text", "mix", "sequences", "length", "dtype", "device_map", "seed"),
        ),
        "what to measure": ("compare", "quick", "eval_text", "tasks", "beside", "batch"),
        "output and places": ("out", "resources", "catalogue"),
    }
    resumes = True

    def run(self) -> None:
        """Prune, and print the comparison with the dense model; errors are those of `prune` in `hfprune`."""
        from tabulate import tabulate

        from hfprune.pruning.folder import MODEL, REPORT
        from hfprune.pruning.run import pruned

        outcome = pruned(self)
        rows, headers = outcome.lines(), outcome.headers()
        align = ("left", *["right"] * (len(headers) - 1))
        print(tabulate(rows, headers, disable_numparse=True, colalign=align))
        if outcome.rivals:
            names, *rest = zip(*outcome.rivals, strict=True)
            print("", tabulate(rest, names, disable_numparse=True), sep="\n")
        print("", *outcome.conclusions, *outcome.sampled(), sep="\n")
        print(f"\n{self.out / MODEL}: the model and its card; {self.out / REPORT}: the comparison as a page")
