"""Linear recovery: least-squares reconstruction (GRAIL) of the weights that read the kept units."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hfprune.errors import REASON, HfpruneError, explained
from hfprune.models.grams import batches_of, grams
from hfprune.models.units import Units
from hfprune.plans.planning import Plan, check_plan
from hfprune.provenance import unfinished
from hfprune.recovery.least_squares import solve
from hfprune.recovery.solved import Solved, load_solved, save_solved
from hfprune.settings.recovery import Linear
from hfprune.settings.units import layer_of

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
    """Reconstruct the weights that read kept units, at every place that a plan cuts.

    One pass over the calibration serves all plans.

    Args:
        model: the dense model, frozen; its layers may lie on several devices.
        blocks: calibration tokens [sequences, length].
        plans: plans of this model, by names that are valid folder names.
        state: folder where each solved place is saved, and from which an interrupted run resumes.
        settings: candidates for the ridge.
        documents: the document of each sequence, if known; an eighth of the documents is held out.
        batch_tokens: tokens of one forward pass; it changes weights by rounding only.
        identity: identifies model, blocks and settings; places saved under another identity are not used.

    Returns:
        Plan → place → solution, in main memory.

    Raises:
        HfpruneError: a plan is of another model or cuts whole layers only, activations are not finite, or the
            calibration is too small.
    """
    cut = {name: _cut_places(model, plan) for name, plan in plans.items()}
    batches = batches_of(blocks, documents, batch_tokens)
    by_plan: dict[str, dict[str, Solved]] = {name: {} for name in plans}
    for name, units in cut.items():
        for place in units:
            if unfinished(saved := state / name / f"{place}.safetensors", identity):
                by_plan[name] |= load_solved(saved)

    missing: dict[str, Units] = {}
    for name, units in cut.items():
        missing |= {place: own for place, own in units.items() if place not in by_plan[name]}
    for place, *dense in grams(model, batches, [*missing.values()]):
        for name, plan in plans.items():
            if place in cut[name] and place not in by_plan[name]:
                with explained(f"{place}: {REASON}", HfpruneError):
                    solved = {place: solve(cut[name][place], plan[place], dense, settings)}
                saved = state / name / f"{place}.safetensors"
                save_solved(saved, solved, identity=identity)
                by_plan[name] |= load_solved(saved)  # mapped from disk, so that it takes no memory
    return by_plan


def _cut_places(model: "PreTrainedModel", plan: Plan) -> dict[str, Units]:
    units = check_plan(model, plan)
    inside = [place for place in plan if place != "layers"]
    places = sorted(inside, key=lambda place: (layer_of(place), place))
    if not places:
        raise HfpruneError("the plan cuts whole layers only: a linear recovery has nothing to solve")
    return {place: units[place] for place in places if len(plan[place]) < units[place].count}
