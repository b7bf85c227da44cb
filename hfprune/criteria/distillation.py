"""Self-distillation: divergence of a slightly pruned student from the dense model."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criterion import GradientCriterion
from hfprune.plans import keep_highest, kept_mask
from hfprune.scoring import Positions, Sweep
from hfprune.tally import Scores


class Distillation(GradientCriterion):
    """KL(teacher ‖ student) of the next-token distributions (SDMPrune; paper, Table 6, "SD Loss").

    At student = teacher the gradient of the divergence is zero everywhere, so, as in SDMPrune, the student
    first loses its lowest neurons by cross-entropy. Teacher and student are the same weights without and with
    that mask. Masked neurons score zero and are pruned first. Unlike SDMPrune, the score is in activation form
    and the divergence alone, without a share of cross-entropy and at temperature 1.
    """

    needs_teacher = True

    warm_start: Annotated[float, Field(gt=0, lt=1)] = 0.025
    """Fraction of each layer's neurons masked first; SDMPrune keeps 3.9 of 4 × hidden size in LLaMA-3.2-1B."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return KL(teacher ‖ student) in nats [n]."""
        teacher = positions.teacher.log_softmax(-1)
        return (teacher.exp() * (teacher - logits.log_softmax(-1))).sum(-1)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂KL/∂z = p_student - p_teacher."""
        return logits.softmax(-1).sub_(positions.teacher.softmax(-1))

    def scores(self, sweep: Sweep) -> Scores:
        """Mask by a cross-entropy sweep, then score the masked student against the dense model."""
        (warm,) = sweep.gradient_scores([CrossEntropy(aggregation=self.aggregation)], name="warm_start")
        kept = [keep_highest(s, len(s) - max(1, round(self.warm_start * len(s)))) for s in warm]
        masks = [kept_mask(k, len(s)) for k, s in zip(kept, warm, strict=True)]
        return sweep.gradient_scores([self], kept=masks)[0]
