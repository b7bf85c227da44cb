"""The learning curve of a training: the loss on held-out sequences, before it and after every doubling."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from hfprune.errors import HfpruneError
from hfprune.recoveries import measured_steps
from hfprune.recovery.packing import IGNORED, Packed

# Of an entry in the Trainer's log that holds losses of sequences.
KEY = "held_out"


def response_tokens(packed: Packed) -> list[int]:
    return (packed.labels[:, 1:] != IGNORED).sum(1).tolist()


def needed(tokens: Tensor, labels: Tensor, positions: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return what a model reads for the losses of sequences [n, length], and the targets of the logits it gives.

    Tokens after the last response are left out, and so are logits that predict no response in any sequence.
    """
    targets = labels[:, 1:]
    kept = (targets != IGNORED).any(0).nonzero().squeeze(1)
    read = slice(int(kept[-1]) + 1)
    inputs = {"input_ids": tokens[:, read], "position_ids": positions[:, read], "logits_to_keep": kept}
    return inputs, targets[:, kept]


@torch.no_grad()
def sequence_losses(model: nn.Module, packed: Packed, size: int) -> list[float]:
    """Return the mean loss of each sequence in nats per response token, in float32 and without dropout.

    Args:
        model: on its device; it stays in evaluation mode, which the Trainer ends at its next step.
        packed: the sequences, each of which has a response.
        size: sequences in one forward pass.
    """
    model.eval()
    device = next(model.parameters()).device
    found = []
    for parts in zip(*(part.split(size) for part in vars(packed).values()), strict=True):
        inputs, targets = needed(*(part.long().to(device) for part in parts))
        logits = model(**inputs, use_cache=False).logits.float()
        losses = cross_entropy(logits.mT, targets, ignore_index=IGNORED, reduction="none")
        found.append(losses.double().sum(1) / (targets != IGNORED).sum(1))
    return torch.cat(found).tolist()


def check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise HfpruneError(
            f"the loss is {loss} at step {step}; choose a lower learning_rate or another dtype"
        )


class Curve(TrainerCallback):
    """Measures held-out sequences, and keeps their losses in the Trainer's log, which checkpoints save."""

    def __init__(self, held_out: Packed, size: int) -> None:
        self.held_out, self.size = held_out, size

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:  # a run that resumes has this point
            self._measure(state, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in measured_steps(state.max_steps):
            self._measure(state, kwargs["model"])

    def _measure(self, state: Any, model: nn.Module) -> None:
        losses = sequence_losses(model, self.held_out, self.size)
        check_finite(sum(losses), state.global_step)
        state.log_history.append({"step": state.global_step, KEY: losses})
