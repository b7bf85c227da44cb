"""A plan as a mask: the outputs of a pruned model from the dense model's weights, without a second copy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hfprune.plans.planning import Plan, check_plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Mask:
    """Switches the mask of a plan on a dense model on and off."""

    def __init__(self) -> None:
        self.on = True

    @contextmanager
    def off(self) -> Iterator[None]:
        """Let the model give the dense outputs while the block runs."""
        self.on = False
        try:
            yield
        finally:
            self.on = True


@contextmanager
def masked(model: "PreTrainedModel", plan: Plan) -> Iterator[Mask]:
    """Let a dense model give the outputs of the pruned one, up to rounding, while the block runs.

    A masked model is as slow as the dense one. Its parameters do not change.

    Raises:
        HfpruneError: the plan does not fit the model.
    """
    mask, units = Mask(), check_plan(model, plan)
    handles = [handle for name, kept in plan.items() for handle in units[name].mask(kept, lambda: mask.on)]
    try:
        yield mask
    finally:
        for handle in handles:
            handle.remove()
