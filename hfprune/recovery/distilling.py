"""The distillation loss: the divergence of a student's next-token distributions from the dense model's."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Trainer

from hfprune.models.head import back_to_hidden, before_transform, chunks, hidden_states
from hfprune.recovery.conversations import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Distiller(Trainer):
    """Trains an adapter on the mean of `divergences` from `teacher` over the tokens of an optimizer step."""

    def __init__(self, teacher: "PreTrainedModel", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.teacher, self.loss_is_scaled_for_ga = teacher, True

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the sum of a batch's divergences in nats, divided by the tokens of the optimizer step."""
        with self.accelerator.autocast():
            losses = divergences(model, self.teacher, inputs, inputs["labels"] != IGNORED)
        return losses.sum() / num_items_in_batch


def divergences(
    student: Any, teacher: "PreTrainedModel", inputs: dict[str, Tensor], chosen: Tensor
) -> Tensor:
    """Return KL(teacher ‖ student) in nats of the next-token distributions at chosen positions [n].

    This is the loss of Minitron (Muralidharan et al. 2024) at temperature 1. Logits are computed for some
    positions at a time, with their gradient p_student - p_teacher, which is propagated through the frozen head.

    Args:
        student: a dense model with adapters.
        teacher: a model with the same vocabulary.
        inputs: inputs of both models, as `needed` returns them.
        chosen: bool [sequences, positions kept].
    """

    def states(model: "PreTrainedModel") -> Tensor:
        hidden = hidden_states(model, inputs["input_ids"], position_ids=inputs["position_ids"])
        return hidden[:, inputs["logits_to_keep"]][chosen]

    with torch.no_grad():
        taught = states(teacher)
    base = student.get_base_model()
    hidden = states(base)
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    losses, gradient = hidden.new_empty(len(hidden), dtype=dtype), torch.empty_like(hidden)
    with torch.no_grad():
        pairs = zip(chunks(base, hidden, dtype), chunks(teacher, taught, dtype), strict=True)
        for (part, logits), (_, targets) in pairs:
            own, other = logits.log_softmax(-1), targets.log_softmax(-1)
            losses[part] = (other.exp() * (other - own)).sum(-1)
            toward = before_transform(base, logits, own.exp() - other.exp())
            gradient[part] = back_to_hidden(base, toward)
    # The second term is zero, and carries the gradient.
    return losses + ((hidden - hidden.detach()).to(dtype) * gradient).sum(-1)
