"""Self-distillation: divergence of a slightly pruned student from the dense model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from hfprune.criteria import Positions, StudentCriterion

if TYPE_CHECKING:
    from torch import Tensor


class Distillation(StudentCriterion):
    """KL(teacher ‖ student) of the next-token distributions (SDMPrune; paper, Table 6, "SD Loss").

    Unlike SDMPrune (`sdmprune`), the score is in activation form, and the objective is the divergence alone,
    at temperature 1 and without a share of cross-entropy.
    """

    divergence: Literal["kl", "reverse_kl", "js"] = "kl"
    """KL(teacher ‖ student), KL(student ‖ teacher), or their Jensen–Shannon divergence."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the divergence in nats [n]."""
        student, teacher = logits.log_softmax(-1), positions.teacher.log_softmax(-1)
        if self.divergence == "kl":
            return _kl(teacher, student)
        if self.divergence == "reverse_kl":
            return _kl(student, teacher)
        mean = _log_mean(student, teacher)
        return (_kl(student, mean) + _kl(teacher, mean)) / 2

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z: p_student - p_teacher for `kl`, else p_student (r - Σ p_student r) for a log-ratio r."""
        if self.divergence == "kl":
            return logits.softmax(-1).sub_(positions.teacher.softmax(-1))
        student, teacher = logits.log_softmax(-1), positions.teacher.log_softmax(-1)
        if self.divergence == "reverse_kl":
            ratio = student - teacher
        else:
            ratio = (student - _log_mean(student, teacher)) / 2
        p = student.exp()
        return ratio.sub_((p * ratio).sum(-1, keepdim=True)).mul_(p)


def _kl(a: Tensor, b: Tensor) -> Tensor:
    return (a.exp() * (a - b)).sum(-1)


def _log_mean(a: Tensor, b: Tensor) -> Tensor:
    return a.logaddexp(b) - math.log(2)
