"""Learning curves of recoveries: the held-out loss by trained tokens, and what each doubling brought."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from hfprune.analysis.statistics import Outcomes, contrast, estimate
from hfprune.analysis.tidy import COMPANION_COLUMNS, LEARNING
from hfprune.evaluation.item_outcomes import token_items
from hfprune.recovery.settings import half


def learning_curves(results: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per recovery and point of its learning curve.

    Args:
        results: of `hfprune.results.read_result`, any of a study; recoveries from before there were curves have
            no rows.

    Returns:
        `model, method, ratio, seed, recovery`, the cell; `step`, the optimizer steps before the point, 0 before
        the training; `tokens`, those of the sequences that these have read, prompts and padding included; `loss`
        in nats per response token, with its `stderr` over `n` held-out sequences. `doubling` is the loss minus
        that after half of the steps, if it was measured, in pairs on the same sequences; `doubling_low` and
        `doubling_high` are the ends of its 95 % interval over held-out sequences, for this one training.
    """
    rows = [row for result in results if result["measure"] == "recovery" for row in _rows(result)]
    return pd.DataFrame(rows, columns=COMPANION_COLUMNS[LEARNING])


def _rows(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    made = result["provenance"]
    curve = {point["step"]: point for point in made.get("curve", [])}
    for step, point in curve.items():
        row = result["cell"] | point | {"n": len(point["losses"])}
        if step > 1 and half(step) in curve:
            sides = (_outcomes(x["losses"], made["held_out_tokens"]) for x in (point, curve[half(step)]))
            found = estimate(contrast([*zip((1.0, -1.0), sides, strict=True)]))
            row |= {"doubling": found.value, "doubling_low": found.low, "doubling_high": found.high}
        yield row


def _outcomes(losses: list[float], tokens: list[int]) -> Outcomes:
    """Return the losses of tokens, whose sequences are clusters; no draw changes one training."""
    return {None: {"": token_items(losses, tokens).set_index(["item", "document"])["loss"]}}
