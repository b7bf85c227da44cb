"""How far pruned models are behind the dense one while both are trained: differences of their held-out losses."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from hfprune.analysis.curves import held_out_losses
from hfprune.analysis.effect_rows import BOTH, EffectRow, estimated
from hfprune.analysis.effects import mean, over_draws_or_items
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotComparableError, Outcomes, contrast
from hfprune.analysis.slopes import over_logarithm
from hfprune.results import DENSE
from hfprune.study.added_effects import AddedEffects

OUTCOME = "held_out_loss"


class Training(AddedEffects):
    """The held-out loss of a pruned model less that of the dense one, after as many steps of the same training."""

    question = "training"
    form = "{:+.3f}"
    needs = "recovery"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield a row a pruned model with a recovery that trains, and step, and on how that changes with steps.

        `held_out_loss_tenfold` is what it changes from a tenth of a step's number to that step, and
        `held_out_loss_slope` its least-squares slope over the logarithm of the steps but 0, which count alike.
        """
        curves = held_out_losses(evidence.records)
        cells = ((cell.model, cell.method, cell.ratio or 0.0, cell.recovery) for cell in evidence.cells)
        for model, method, ratio, recovery in dict.fromkeys(cells):
            pruned = curves.get((model, method, ratio, recovery), {})
            dense = curves.get((model, DENSE, 0.0, "lora"), {})
            if method != DENSE and (model, method, ratio) not in evidence.not_applicable:
                of = {"model": model, "ratio": ratio, "method": method, "recovery": recovery}
                with suppress(NotComparableError):  # in a partial run
                    yield from _of_cell(of, pruned, dense)


def _of_cell(
    of: Mapping[str, Any], pruned: Mapping[int, Outcomes], dense: Mapping[int, Outcomes]
) -> Iterator[EffectRow]:
    steps = sorted(pruned.keys() & dense.keys())
    for step in steps:
        row = _row(of, OUTCOME, {step: 1.0}, pruned, dense, family=f"{OUTCOME} of each step")
        yield row._replace(task=f"step {step}", base=mean(dense[step]), unit="nats")
    for step in steps:
        if step and step % 10 == 0 and step // 10 in steps:
            row = _row(
                of, f"{OUTCOME}_tenfold", {step: 1.0, step // 10: -1.0}, pruned, dense, family="a tenfold"
            )
            yield row._replace(task=f"step {step}", unit="nats")
    trained = [step for step in steps if step]
    if len(trained) > 1:
        weights = dict(zip(trained, over_logarithm(trained).tolist(), strict=True))
        row = _row(of, f"{OUTCOME}_slope", weights, pruned, dense, family=f"{OUTCOME}_slope")
        yield row._replace(unit="nats per tenfold")


def _row(
    of: Mapping[str, Any],
    outcome: str,
    weights: Mapping[int, float],
    pruned: Mapping[int, Outcomes],
    dense: Mapping[int, Outcomes],
    family: str,
) -> EffectRow:
    """Return the effect on a weighted sum of the losses after several steps, in pairs on the same sequences."""
    sides = ((1.0, pruned), (-1.0, dense))
    terms = [(sign * weight, losses[step]) for step, weight in weights.items() for sign, losses in sides]
    it, covers = over_draws_or_items(contrast(terms))
    return EffectRow(
        question=Training.question,
        **of,
        against=DENSE,
        against_recovery="lora",
        outcome=outcome,
        measure="recovery",
        metric="loss",
        **(estimated(it, float) | {"n": _sequences(terms[0][1])}),
        p=it.p_value() if covers == BOTH else np.nan,
        family=f"{Training.question}: {family}" if covers == BOTH else "",
        covers=covers,
        better="lower",
    )


def _sequences(outcomes: Outcomes) -> int:
    """Return how many sequences outcomes are of, whose items are tokens."""
    (losses,) = next(iter(outcomes.values())).values()
    return losses.index.get_level_values("document").nunique()
