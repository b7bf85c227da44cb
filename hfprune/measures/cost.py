"""The cost of scoring by one criterion: alone, on few sequences, repeated."""

from __future__ import annotations

from functools import partial

from pydantic import Field, PositiveInt

from hfprune.cells import Value
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import BatchTokens, Measure, Metric, Outcome
from hfprune.runs import Stopwatch


class Cost(Measure):
    """Wall time and peak memory of scoring (paper, Table 5), medians over repeats after one warm-up.

    A study scores all criteria in shared passes, which give no cost per criterion. Here each criterion alone
    scores the first sequences of its calibration. Peak memory is the maximum that the CUDA allocator handed
    out, or on a CPU the peak resident memory of the process. Standard errors are from a bootstrap over
    repeats; resident memory has none. One item per repeat.
    """

    needs = "criterion"
    exclusive = True
    capability = "Cost of scoring"

    sequences: PositiveInt = Field(default=4, description="calibration sequences to score, from the first")
    repeats: PositiveInt = Field(default=3, description="timed rounds, after one warm-up")
    batch_tokens: BatchTokens = None

    def metrics(self) -> list[Metric]:
        """Return time and memory."""
        lower = partial(Metric, better="lower", repeatable=False)
        return [
            lower("seconds", "Time of scoring", "s", shown="{:.1f}"),
            lower("peak_memory_bytes", "Peak memory", "GB", shown="{:.2f}", scale=1e-9),
        ]

    def tokens(self) -> float:
        """Return the sequences of all rounds."""
        return self.sequences * (1 + self.repeats)

    def run(self, subject: Subject) -> Outcome:
        """Score repeatedly by the subject's criterion."""
        import pandas as pd
        from tqdm import tqdm

        from hfprune.evaluation.timing import median_value
        from hfprune.models.load import default_batch_tokens
        from hfprune.scoring.score import score

        if subject.scoring is None:
            raise HfpruneError("cost measures scoring: give the subject a criterion and its blocks")
        criterion, blocks, units, seed = subject.scoring
        blocks = None if blocks is None else blocks[: self.sequences]
        batch_tokens, model = self.batch_tokens or default_batch_tokens(), subject.model
        rows = []
        for _ in tqdm(range(1 + self.repeats), desc="cost", unit="round"):
            watch = Stopwatch()
            score({"it": criterion}, model, blocks, units, seed=seed, batch_tokens=batch_tokens)
            rows.append(watch.cost())
        items = pd.DataFrame(rows[1:])
        values = [median_value("seconds", items["seconds"])]
        if model.device.type == "cuda":
            values.append(median_value("peak_memory_bytes", items["peak_memory_bytes"]))
        else:
            # Resident memory only ever rises, so later rounds do not repeat the first: one number, no interval.
            values.append(Value("peak_memory_bytes", float(items["peak_memory_bytes"].max())))
        items.insert(0, "item", range(len(items)))
        return Outcome(values, items)
