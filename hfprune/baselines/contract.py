"""What the plan or checkpoint of an external baseline must be before anything is measured on it."""

from pathlib import Path
from typing import TYPE_CHECKING

from hfprune.errors import HfpruneError
from hfprune.models import load_checkpoint, load_skeleton
from hfprune.plans import apply_plan, count_parameters, load_plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def adopt(dense: Path, pruned: Path, ratio: float) -> tuple[int, int]:
    """Check what a baseline made of a dense model.

    Equal budgets are what a comparison rests on, so the removed parameters must come as near to `ratio` as whole
    decoder blocks allow, the coarsest thing that baselines remove: within half a block.

    Args:
        dense: folder of the dense model.
        pruned: folder of a checkpoint, or file of a plan.
        ratio: fraction of all parameters to remove.

    Returns:
        The parameters of the pruned and of the dense model.

    Raises:
        HfpruneError: names `pruned` and what is wrong: a plan that does not fit the model; a checkpoint that does
            not load or has another architecture, another vocabulary or weights that are not finite; another size.
    """
    skeleton = load_skeleton(dense)
    total = count_parameters(skeleton)
    tolerance = block_parameters(skeleton) / total / 2
    if pruned.is_dir():
        model = load_checkpoint(pruned, dense)
        _check_finite(model, pruned)
    else:
        model, plan = skeleton, load_plan(pruned)
        try:
            apply_plan(model, plan)
        except HfpruneError as error:
            raise HfpruneError(f"{pruned}: {error}") from error
    left = count_parameters(model)
    removed = 1 - left / total
    if removed <= 0 or abs(removed - ratio) > tolerance + 1e-9:
        raise HfpruneError(
            f"{pruned}: removes {removed:.2%} of all parameters where {ratio:.2%} were asked for; "
            f"at most half a decoder block ({tolerance:.2%}) more or less is accepted"
        )
    return left, total


def block_parameters(model: "PreTrainedModel") -> int:
    """Return the parameters of one decoder block of a dense model."""
    return count_parameters(model.model.layers[0])


def _check_finite(model: "PreTrainedModel", path: Path) -> None:
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise HfpruneError(f"{path}: {name} holds numbers that are not finite")
