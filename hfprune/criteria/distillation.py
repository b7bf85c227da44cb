"""Self-distillation: divergence of a slightly pruned student from the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import Positions, StudentCriterion

if TYPE_CHECKING:
    from torch import Tensor


class Distillation(StudentCriterion):
    """KL(teacher ‖ student) of the next-token distributions (SDMPrune; paper, Table 6, "SD Loss").

    Unlike SDMPrune (`sdmprune`), the score is in activation form, and the objective is the divergence alone,
    at temperature 1 and without a share of cross-entropy.
    """

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the divergence in nats [n]."""
        student, teacher = logits.log_softmax(-1), positions.teacher.log_softmax(-1)
        return (teacher.exp() * (teacher - student)).sum(-1)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p_student - p_teacher."""
        return logits.softmax(-1).sub_(positions.teacher.softmax(-1))
