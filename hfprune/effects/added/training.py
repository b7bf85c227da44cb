"""How far pruned models are behind the dense one while both are trained: differences of their held-out losses."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

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
                    yield from _cell_rows(cell, curves.get(cell, {}), curves.get(control, {}))


def _cell_rows(
    cell: Cell, pruned: Mapping[int, Outcomes], dense: Mapping[int, Outcomes]
) -> Iterator[EffectRow]:
    steps = sorted(pruned.keys() & dense.keys())
    for step in steps:
        row = _row(cell, OUTCOME, {step: 1.0}, pruned, dense, family=f"{OUTCOME} of each step")
        yield row._replace(task=f"step {step}", base=mean(dense[step]), unit="nats")
    for step in steps:
        if step and step % 10 == 0 and step // 10 in steps:
            row = _row(
                cell, f"{OUTCOME}_tenfold", {step: 1.0, step // 10: -1.0}, pruned, dense, family="a tenfold"
            )
            yield row._replace(task=f"step {step}", unit="nats")
    trained = [step for step in steps if step]
    if len(trained) > 1:
        weights = dict(zip(trained, over_logarithm(trained).tolist(), strict=True))
        row = _row(cell, f"{OUTCOME}_slope", weights, pruned, dense, family=f"{OUTCOME}_slope")
        yield row._replace(unit="nats per tenfold")


def _row(
    cell: Cell,
    outcome: str,
    weights: Mapping[int, float],
    pruned: Mapping[int, Outcomes],
    dense: Mapping[int, Outcomes],
    family: str,
) -> EffectRow:
    """Return the effect on a weighted sum of the losses after several steps, paired by sequence."""
    sides = ((1.0, pruned), (-1.0, dense))
    terms = [(sign * weight, losses[step]) for step, weight in weights.items() for sign, losses in sides]
    effect, covers = over_draws_or_items(contrast(terms))
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
        n=_sequences(terms[0][1]),
        better="lower",
        form=Training.form,
        label="Held-out loss",
    )


def _sequences(outcomes: Outcomes) -> int:
    """Return the number of sequences behind outcomes whose items are tokens."""
    (losses,) = next(iter(outcomes.values())).values()
    return losses.index.get_level_values("document").nunique()
