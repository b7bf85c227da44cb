"""The learning curve of a training: the loss on held-out sequences, before it and after every doubling."""

import math
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils.operations import reduce
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from hfprune.errors import HfpruneError
from hfprune.recovery.packing import IGNORED, Packed
from hfprune.recovery.settings import measured_steps

# Of an entry in the Trainer's log that holds losses of sequences.
KEY = "held_out"


def response_tokens(packed: Packed) -> list[int]:
    """Return the number of tokens of each sequence that are predicted."""
    return (packed.labels[:, 1:] != IGNORED).sum(1).tolist()


@torch.no_grad()
def sequence_losses(model: nn.Module, packed: Packed, size: int) -> list[float]:
    """Return the mean loss of each sequence in nats per response token, in float32 and without dropout.

    Several processes share the sequences, and each returns all losses.

    Args:
        model: on its device; it stays in evaluation mode, which the Trainer ends at its next step.
        packed: the sequences, each of which has a response.
        size: sequences in one forward pass.
    """
    model.eval()
    device, group = next(model.parameters()).device, PartialState()
    found = torch.zeros(len(packed.tokens), dtype=torch.float64, device=device)
    own = range(group.process_index, len(found), group.num_processes)
    for start in range(0, len(own), size):
        rows = [*own[start : start + size]]
        tokens, labels, positions = (
            part[rows].long().to(device) for part in (packed.tokens, packed.labels, packed.positions)
        )
        logits = model(input_ids=tokens, position_ids=positions, use_cache=False).logits
        targets = labels[:, 1:]
        losses = cross_entropy(
            logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        found[rows] = losses.view_as(targets).double().sum(1) / (targets != IGNORED).sum(1)
    shared: Any = reduce(found, "sum")
    return shared.tolist()


def check_finite(loss: float, step: int) -> None:
    """Fail if a loss after so many optimizer steps is not finite."""
    if not math.isfinite(loss):
        raise HfpruneError(
            f"the loss is {loss} at step {step}; choose a lower learning_rate or another dtype"
        )


class Curve(TrainerCallback):
    """Measures held-out sequences, and keeps their losses in the Trainer's log, which checkpoints save."""

    def __init__(self, held_out: Packed, size: int) -> None:
        self.held_out, self.size = held_out, size

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure before the first step."""
        if state.global_step == 0:  # a run that resumes has this point
            self._measure(state, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure after some steps, before their checkpoint is saved."""
        if state.global_step in measured_steps(state.max_steps):
            self._measure(state, kwargs["model"])

    def _measure(self, state: Any, model: nn.Module) -> None:
        losses = sequence_losses(model, self.held_out, self.size)
        check_finite(sum(losses), state.global_step)
        state.log_history.append({"step": state.global_step, KEY: losses})
