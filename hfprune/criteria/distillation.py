"""Self-distillation: divergence of a slightly pruned student from the dense model."""

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criterion import GradientCriterion
from hfprune.plans import keep_highest, kept_mask
from hfprune.scoring import Positions, Sweep
from hfprune.tally import Scores

WarmStart = Annotated[float, Field(gt=0, lt=1)]


class Distillation(GradientCriterion):
    """KL(teacher ‖ student) of the next-token distributions (SDMPrune; paper, Table 6, "SD Loss").

    At student = teacher the gradient of the divergence is zero everywhere, so, as in SDMPrune, the student
    first loses its lowest neurons by cross-entropy. Teacher and student are the same weights without and with
    that mask. Masked neurons score zero and are pruned first. Unlike SDMPrune (`sdmprune`), the score is in
    activation form and the divergence alone, without a share of cross-entropy and at temperature 1.
    """

    needs_teacher = True

    divergence: Literal["kl", "reverse_kl", "js"] = "kl"
    """KL(teacher ‖ student), KL(student ‖ teacher), or their Jensen–Shannon divergence."""
    warm_start: WarmStart = 0.025
    """Fraction of each layer's neurons masked first; SDMPrune keeps 3.9 of 4 × hidden size in LLaMA-3.2-1B."""

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

    def scores(self, sweep: Sweep) -> Scores:
        """Mask by a cross-entropy sweep, then score the masked student against the dense model."""
        return scores_after_warm_start(self, sweep, self.warm_start)


def scores_after_warm_start(criterion: GradientCriterion, sweep: Sweep, fraction: float) -> Scores:
    """Score a student that has lost the `fraction` of each layer's neurons that are lowest by cross-entropy.

    Both sweeps aggregate as `criterion` does.
    """
    # A fortieth of a few key-value groups would be none or too much, so attention starts whole.
    neurons = replace(sweep, parts="mlp")
    (warm,) = neurons.gradient_scores([CrossEntropy(aggregation=criterion.aggregation)], name="warm_start")
    kept = [keep_highest(s, len(s) - max(1, round(fraction * len(s)))) for s in warm]
    masks = [kept_mask(k, len(s)) for k, s in zip(kept, warm, strict=True)]
    return sweep.gradient_scores([criterion], kept=masks)[0]


def _kl(a: Tensor, b: Tensor) -> Tensor:
    return (a.exp() * (a - b)).sum(-1)


def _log_mean(a: Tensor, b: Tensor) -> Tensor:
    return a.logaddexp(b) - math.log(2)
