"""How far pruned models are behind the dense one while both are trained: differences of their held-out losses."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hfprune.cells import DENSE, Cell
from hfprune.cells.recovery import Recovery
from hfprune.effects.comparisons import mean
from hfprune.effects.slopes import over_logarithm
from hfprune.effects.standard import over_draws_or_items
from hfprune.results.curves import held_out_losses
from hfprune.results.effect_rows import BOTH, EffectRow, row_of
from hfprune.results.evidence import Evidence
from hfprune.statistics.outcomes import NotComparableError, Outcomes, contrast
from hfprune.study.added_effects import AddedEffects

OUTCOME = "held_out_loss"


class Training(AddedEffects):
    """The held-out loss of a pruned model less that of the dense one, after as many steps of the same training."""

    question = "training"
    form = "{:+.3f}"
    needs = "recovery"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per trained pruned model and step, and rows on how the difference changes with steps.

        `held_out_loss_tenfold` is its change from a tenth of a step's number to that step, and
        `held_out_loss_slope` its least-squares slope over the logarithm of the steps except 0, equally weighted.
        """
        curves = held_out_losses(evidence.results.records)
        trained = [cell for cell in evidence.cells if cell.recovery.trains and cell.ratio is not None]
        dense = {cell.model: cell for cell in trained if cell.method == DENSE}
        for cell in dict.fromkeys(replace(cell, draw=0) for cell in trained):
            applicable = (cell.model, cell.method, cell.ratio) not in evidence.results.not_applicable
            if cell.method != DENSE and applicable:
                control = replace(dense[cell.model], draw=0)
                with suppress(NotComparableError):  # in a partial run
                    yield from _rows(cell, curves.get(cell, {}), curves.get(control, {}))


def _rows(cell: Cell, pruned: Mapping[int, Outcomes], dense: Mapping[int, Outcomes]) -> Iterator[EffectRow]:
    def row(outcome: str, weights: Mapping[int, float], family: str, **fields: Any) -> EffectRow:
        """Return the effect on a weighted sum of the losses after several steps, paired by sequence."""
        sides = ((1.0, pruned), (-1.0, dense))
        terms = [(sign * weight, losses[step]) for step, weight in weights.items() for sign, losses in sides]
        effect, covers = over_draws_or_items(contrast(terms))
        (tokens,) = next(iter(terms[0][1].values())).values()
        return row_of(
            effect,
            float,
            left=(cell.method, cell.recovery),
            right=(DENSE, Recovery.LORA),
            covers=covers,
            family=f"{Training.question}: {family}" if covers == BOTH else "",
            question=Training.question,
            model=cell.model,
            calibration=cell.calibration,
            sequences=cell.sequences,
            ratio=cell.ratio,
            outcome=outcome,
            measure="recovery",
            metric="loss",
            n=tokens.index.get_level_values("document").nunique(),  # sequences
            better="lower",
            form=Training.form,
            label="Held-out loss",
            **{"unit": "nats"} | fields,
        )

    steps = sorted(pruned.keys() & dense.keys())
    for step in steps:
        family, base = f"{OUTCOME} of each step", mean(dense[step])
        yield row(OUTCOME, {step: 1.0}, family, task=f"step {step}", base=base)
    for step in steps:
        if step and step % 10 == 0 and step // 10 in steps:
            yield row(f"{OUTCOME}_tenfold", {step: 1.0, step // 10: -1.0}, "a tenfold", task=f"step {step}")
    trained = [step for step in steps if step]
    if len(trained) > 1:
        weights = dict(zip(trained, over_logarithm(trained).tolist(), strict=True))
        yield row(f"{OUTCOME}_slope", weights, f"{OUTCOME}_slope", unit="nats per tenfold")
