"""SDMPrune as published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hfprune.criteria import Aggregation, Positions, StudentCriterion

if TYPE_CHECKING:
    from torch import Tensor


class SDMPrune(StudentCriterion):
    """(1 - alpha) CE + alpha KL(teacher ‖ student) in weight form, mean_j Σ_n |d G + u G + g G| (SDMPrune).

    arXiv 2506.11120. There are two stages: the student first loses the neurons with the lowest cross-entropy
    scores in the same weight form; then the mixed loss gives the scores. The official code averages the
    divergence over all positions, sums in bfloat16, and draws other crops of the corpus in each stage; here
    both terms exclude each sequence's last position, sums are float64, and the stages share the crops.
    Only the teacher's logits are divided by the temperature, as in the official code, so that the student is
    pulled towards a sharper distribution than the dense model's. `distillation` is the activation form.
    """

    needs_targets = True

    aggregation: Aggregation = "joint"
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of the divergence; 0.4 at 20 %, 0.42 at 30 %, 0.1 at 40 % in the official settings."""
    temperature: Annotated[float, Field(gt=0)] = 0.2
    """Divisor of the teacher's logits; 0.2 at 20 % and 40 %, 0.5 at 30 % in the official settings."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the mixed loss in nats [n]."""
        from torch.nn.functional import cross_entropy

        student = logits.log_softmax(-1)
        teacher = (positions.teacher / self.temperature).log_softmax(-1)
        divergence = (teacher.exp() * (teacher - student)).sum(-1)
        loss = cross_entropy(logits, positions.targets, reduction="none")
        return (1 - self.alpha) * loss + self.alpha * divergence

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = (1 - alpha) (p - onehot) + alpha (p - p_teacher), the teacher's at the temperature."""
        p = logits.softmax(-1)
        result = p - (positions.teacher / self.temperature).softmax(-1)
        result.mul_(self.alpha).add_(p, alpha=1 - self.alpha)
        hit = positions.targets.unsqueeze(-1)
        return result.scatter_add_(-1, hit, result.new_full(hit.shape, self.alpha - 1))
