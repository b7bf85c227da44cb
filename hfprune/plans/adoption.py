"""Checks of an external baseline's plan or checkpoint, before it is measured."""

from pathlib import Path

from hfprune.errors import REASON, HfpruneError, explained
from hfprune.models.load import load_checkpoint, load_skeleton
from hfprune.models.units import Layers, count_parameters
from hfprune.plans.planning import apply_plan, load_plan


def adopt(dense: Path, pruned: Path, ratio: float) -> tuple[int, int]:
    """Check the plan or checkpoint that a baseline made from a dense model.

    A comparison needs equal budgets, so the removed share must be within half a decoder layer of `ratio`;
    layers are the coarsest units that baselines remove.

    Args:
        dense: folder of the dense model.
        pruned: folder of a checkpoint, or file of a plan.
        ratio: fraction of all parameters to remove.

    Returns:
        The numbers of parameters of the pruned and of the dense model.

    Raises:
        HfpruneError: the plan does not fit the model; the checkpoint does not load, or has another architecture,
            another vocabulary size or weights that are not finite; or the size is wrong. Names `pruned`.
    """
    skeleton = load_skeleton(dense)
    total = count_parameters(skeleton)
    tolerance = Layers("layers", skeleton).parameters / total / 2
    if pruned.is_dir():
        model = load_checkpoint(pruned, dense)
        if wrong := [name for name, weight in model.named_parameters() if not weight.isfinite().all()]:
            raise HfpruneError(f"{pruned}: {wrong[0]} holds numbers that are not finite")
    else:
        model, plan = skeleton, load_plan(pruned)
        with explained(f"{pruned}: {REASON}", HfpruneError):
            apply_plan(model, plan)
    left = count_parameters(model)
    removed = 1 - left / total
    if removed <= 0 or abs(removed - ratio) > tolerance + 1e-9:
        raise HfpruneError(
            f"{pruned}: removes {removed:.2%} of all parameters where {ratio:.2%} were asked for; "
            f"at most half a decoder layer ({tolerance:.2%}) more or less is accepted"
        )
    return left, total
