"""Linear recovery: the weights that read the kept units are solved again, without training."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hfprune.errors import REASON, HfpruneError, explained
from hfprune.models.kinds import layer_of
from hfprune.models.units import Units
from hfprune.plans.mask import masked
from hfprune.plans.plan import Plan, check_plan
from hfprune.provenance import unfinished
from hfprune.recovery.grams import Batch, Moments, Walk, batches_of, grams, inputs_of, memory
from hfprune.recovery.least_squares import lost, solve
from hfprune.recovery.settings import Linear
from hfprune.recovery.solved import Solved, lay_solved, load_solved, save_solved

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def solve_plans(
    model: "PreTrainedModel",
    blocks: Tensor,
    plans: Mapping[str, Plan],
    state: Path,
    settings: Linear = Linear(),  # noqa: B008 (frozen)
    *,
    documents: Sequence[int] | None = None,
    batch_tokens: int = 512,
    identity: str = "",
) -> dict[str, dict[str, Solved]]:
    """Solve the weights that read kept units again, at every place that a plan cuts.

    The calibration is read once for all plans; with the pruned model's inputs, four times for each.

    Args:
        model: the dense model, frozen; its layers may lie on several devices.
        blocks: calibration tokens [sequences, length].
        plans: plans of this model, by names that are valid for folders.
        state: folder where each place is saved when it is solved, and from which an interrupted run resumes.
        settings: what is solved, and how; with the pruned model's inputs, places are solved one after the other.
        documents: the document of each sequence, if known; an eighth of the documents is held out.
        batch_tokens: tokens of one forward pass; it changes weights by rounding only.
        identity: identifies model, blocks and settings; what was saved of another identity is not used.

    Returns:
        By plan and place, in main memory.

    Raises:
        HfpruneError: a plan is of another model or cuts whole layers only, activations are not finite, or the
            calibration or the budget is too small.
    """
    cut = {name: _cut_places(model, plan) for name, plan in plans.items()}
    batches = batches_of(blocks, documents, batch_tokens)
    wanted = memory([unit for units in cut.values() for unit in units.values()], blocks.numel())
    if wanted > (budget := settings.budget_bytes()):
        raise HfpruneError(
            f"a linear recovery takes up to {wanted / 2**30:.2g} GiB above the weights, but the budget is "
            f"{budget / 2**30:.2g} GiB; raise it, or calibrate on fewer tokens"
        )
    found: dict[str, dict[str, Solved]] = {name: {} for name in plans}
    for name, units in cut.items():
        for place in units:
            if unfinished(saved := state / name / f"{place}.safetensors", identity):
                found[name] |= load_solved(saved)

    def solve_at(name: str, units: Units, sums: Callable[[Tensor], Sequence[Moments]]) -> Solved:
        if units.name not in found[name]:
            kept = inputs_of(units, plans[name][units.name])
            moments = sums(kept)
            with explained(f"{units.name}: {REASON}", HfpruneError):
                solved = {units.name: solve(units.linears[-1], kept, moments, settings.ridges, settings.bias)}
            save_solved(state / name / f"{units.name}.safetensors", solved, identity=identity)
            found[name] |= solved
        return found[name][units.name]

    if settings.inputs == "pruned":
        for name, plan in plans.items():
            _from_pruned(model, batches, plan, cut[name], partial(solve_at, name))
        return found
    missing = {x.name: x for name in plans for x in cut[name].values() if x.name not in found[name]}
    for place, *moments in grams(model, batches, [*missing.values()]):
        for name in plans:
            if place in cut[name]:
                solve_at(name, cut[name][place], partial(_from_dense, cut[name][place].linears[-1], moments))
    return found


def _from_dense(linear: nn.Linear, dense: Sequence[Moments], kept: Tensor) -> list[Moments]:
    return [lost(linear.weight, moments, kept) for moments in dense]


def _cut_places(model: "PreTrainedModel", plan: Plan) -> dict[str, Units]:
    """Return the units at the places that a plan cuts, in the order of a forward pass."""
    units = check_plan(model, plan)
    places = sorted((x for x in plan if x != "layers"), key=lambda x: (layer_of(x), x))
    if not places:
        raise HfpruneError("the plan cuts whole layers only: a linear recovery has nothing to solve")
    return {place: units[place] for place in places if len(plan[place]) < units[place].count}


def _from_pruned(
    model: "PreTrainedModel",
    batches: Sequence[Batch],
    plan: Plan,
    cut: Mapping[str, Units],
    solve_at: Callable[[Units, Callable[[Tensor], Sequence[Moments]]], Solved],
) -> None:
    """Solve the places of a plan one after the other, each with the inputs that those before it give."""
    dense, pruned = Walk(model, batches), Walk(model, batches)

    def sums(units: Units, kept: Tensor) -> list[Moments]:
        linear, stop = units.linears[-1], layer_of(units.name) + 1
        both = [Moments.none(len(kept) + linear.out_features, units) for _ in range(2)]
        for number, batch in enumerate(batches):
            with mask.off():
                (_, wanted), _ = dense.read(number, stop, linear)
            (x, output), _ = pruned.read(number, stop, linear)
            x, wanted, output = (part.to(both[0].gram) for part in (x[..., kept], wanted, output))
            both[batch.held_out].add(torch.cat([x, wanted - output], -1))
        return [x.whole(units.name) for x in both]

    with masked(model, plan) as mask, ExitStack() as solved_layers:
        for place, units in cut.items():
            with mask.off():
                dense.go(layer_of(place))
            pruned.go(layer_of(place))
            solved = solve_at(units, partial(sums, units))
            solved_layers.callback(lay_solved(units, plan[place], solved, mask).remove)
