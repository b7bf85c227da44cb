"""The learning curve of a training: the loss on held-out sequences, before it and after every doubling."""

import math
import sys
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from hfprune.errors import HfpruneError
from hfprune.provenance import save_tensors
from hfprune.recovery.conversations import IGNORED
from hfprune.recovery.distilling import divergences
from hfprune.recovery.packing import Packed
from hfprune.settings.recovery import measured_steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Key of the entries in the Trainer's log that hold losses of sequences.
KEY = "held_out"


def response_tokens(packed: Packed) -> list[int]:
    """Return the predicted response tokens of each sequence: all but one at its very start."""
    return (packed.labels[:, 1:] != IGNORED).sum(1).tolist()


def needed(tokens: Tensor, labels: Tensor, positions: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return a model's inputs for the losses of sequences [n, length], and the targets of its logits.

    Tokens after the last response are left out, as are logits that predict no response in any sequence.
    """
    targets = labels[:, 1:]
    kept = (targets != IGNORED).any(0).nonzero().squeeze(1)
    read = slice(int(kept[-1]) + 1)
    inputs = {"input_ids": tokens[:, read], "position_ids": positions[:, read], "logits_to_keep": kept}
    return inputs, targets[:, kept]


@torch.no_grad()
def sequence_losses(
    model: Any, packed: Packed, size: int, teacher: "PreTrainedModel | None" = None
) -> list[float]:
    """Return the mean loss of each sequence in nats per response token, in float32 and without dropout.

    Args:
        model: stays in evaluation mode, which the Trainer ends at its next step.
        packed: the sequences, each of which has a response.
        size: sequences in one forward pass.
        teacher: the loss is the divergence from this model; None: cross-entropy.
    """
    model.eval()
    device = next(model.parameters()).device
    means = []
    for parts in zip(*(part.split(size) for part in vars(packed).values()), strict=True):
        inputs, targets = needed(*(part.long().to(device) for part in parts))
        chosen = targets != IGNORED
        if teacher:
            losses = divergences(model, teacher, inputs, chosen)
        else:
            logits = model(**inputs, use_cache=False).logits[chosen].float()
            losses = cross_entropy(logits, targets[chosen], reduction="none")
        means += [part.double().mean().item() for part in losses.split(chosen.sum(1).tolist())]
    return means


def check_finite(loss: float, step: int) -> None:
    """Fail if the loss at a step is infinite or NaN.

    Raises:
        HfpruneError: the loss is not finite; names the step.
    """
    if not math.isfinite(loss):
        raise HfpruneError(
            f"the loss is {loss} at step {step}; choose a lower learning_rate or another dtype"
        )


class Curve(TrainerCallback):
    """Measures held-out sequences, and keeps their losses in the Trainer's log, which checkpoints save.

    The weights of the best step so far go to a file; a killed run repeats the steps after its checkpoint.
    """

    def __init__(
        self, held_out: Packed, size: int, teacher: "PreTrainedModel | None" = None, best: Path | None = None
    ) -> None:
        self.held_out, self.size, self.teacher, self.best = held_out, size, teacher, best
        self.tokens = response_tokens(held_out)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure before the first step, unless the run resumes."""
        if state.global_step == 0:  # a run that resumes has this point
            self._measure(state, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure after the steps of `measured_steps`."""
        if state.global_step in measured_steps(state.max_steps):
            self._measure(state, kwargs["model"])

    def _measure(self, state: Any, model: nn.Module) -> None:
        losses = sequence_losses(model, self.held_out, self.size, self.teacher)
        check_finite(sum(losses), state.global_step)
        state.log_history.append({"step": state.global_step, KEY: losses})
        step, least = best_step(curve_of(state.log_history), self.tokens)
        if self.best and step == state.global_step:
            save_tensors(self.best, trained(model))
        loss, at = np.average(losses, weights=self.tokens), f"step {state.global_step} of {state.max_steps}"
        print(f"held out, {at}: loss {loss:.4f}; least {least:.4f} at step {step}", file=sys.stderr)


def curve_of(log: Sequence[Mapping[str, Any]]) -> dict[int, list[float]]:
    """Return the held-out losses of sequences by step, from the Trainer's log."""
    return {entry["step"]: entry[KEY] for entry in log if KEY in entry}


def best_step(curve: dict[int, list[float]], tokens: list[int]) -> tuple[int, float]:
    """Return the first measured step with the least mean loss per response token, and that loss."""
    means = {step: float(np.average(losses, weights=tokens)) for step, losses in curve.items()}
    return min(means.items(), key=itemgetter(1))


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the trained weights on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}
