"""The head: from hidden states to logits, and from gradients of logits back, in chunks of positions."""

from collections.abc import Iterator
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from hfprune.devices.batches import head_positions
from hfprune.errors import HfpruneError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


class Head(NamedTuple):
    """The head of a model without its layers: all that `logits` and `chunks` need."""

    lm_head: Any  # a linear layer; untyped, as the modules of a model are
    config: Any
    device: torch.device

    @classmethod
    def taken_from(cls, model: "PreTrainedModel") -> Self:
        """Return the head, frozen and with the same weights, so that the model itself can be released."""
        head: Module = copy(model.lm_head)
        head._parameters = {
            name: None if weight is None else Parameter(weight.detach(), requires_grad=False)
            for name, weight in head._parameters.items()
        }
        for name in ("_hf_hook", "_old_forward", "forward"):  # accelerate's, bound to the old head
            head.__dict__.pop(name, None)
        return cls(head, model.config, model.lm_head.weight.device)


def hidden_states(model: "PreTrainedModel", tokens: Tensor, **more: Any) -> Tensor:
    """Return the normalised last hidden state [batch, length, width] for `tokens` [batch, length].

    It is on the head's device. `tokens`, and what `more` the decoder takes, such as masks, are on the embedding's.
    """
    states = model.model(input_ids=tokens, use_cache=False, **more).last_hidden_state
    return at_head(model, states)


def at_head(model: "PreTrainedModel", states: Tensor) -> Tensor:
    """Return hidden states on the device of the model's head."""
    return states.to(model.lm_head.weight.device)


def logits(model: "PreTrainedModel | Head", hidden: Tensor) -> Tensor:
    """Return the logits [..., vocabulary], in the model's dtype, of last hidden states [..., width].

    They are scaled (Granite, Cohere) and soft-capped (Gemma 2) as in the model's own forward pass.
    """
    config, outputs = model.config, model.lm_head(hidden)
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        outputs = outputs / divisor
    if factor := getattr(config, "logit_scale", None):  # Cohere
        outputs = outputs * factor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        outputs = torch.tanh(outputs / cap) * cap
    return outputs


def next_logits(model: "PreTrainedModel", tokens: Tensor, cache: "Cache") -> Tensor:
    """Return the logits [batch, vocabulary] after `tokens` [batch, length], which are added to the cache."""
    # A slice of several prompts is not contiguous, for which the product would copy the head's weights each time.
    end = torch.tensor([tokens.shape[1] - 1], device=tokens.device) if min(tokens.shape) > 1 else 1
    # Positional arguments, since versions of transformers name the cache differently.
    outputs = model(tokens, None, None, cache, use_cache=True, logits_to_keep=end)
    return outputs.logits[:, -1]


def draw_tokens(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token [n] for each row of logits [n, vocabulary] by inverse transform sampling, in their dtype.

    It is the first whose cumulative probability exceeds the row's number of `uniform` [n], which is in [0, 1).
    """
    cumulative = logits.softmax(-1).cumsum(-1)
    # Rounding may leave the last value below 1; scaling keeps every number in [0, 1) below it.
    below = uniform.unsqueeze(-1).to(cumulative) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, below, right=True).squeeze(-1).clamp_max(logits.shape[-1] - 1)


def before_transform(model: "PreTrainedModel", outputs: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient with respect to the head's linear output, from that with respect to the logits.

    All are float32 [n, vocabulary]. Only a soft-capped head needs `outputs`; `gradient` may be overwritten.
    """
    config = model.config
    if cap := getattr(config, "final_logit_softcapping", None):
        gradient = gradient.mul_(1 - (outputs / cap).square())  # tanh' = 1 - tanh²
    if divisor := getattr(config, "logits_scaling", None):
        gradient = gradient.div_(divisor)
    if factor := getattr(config, "logit_scale", None):
        gradient = gradient.mul_(factor)
    return gradient


def back_to_hidden(model: "PreTrainedModel", gradient: Tensor) -> Tensor:
    """Return the gradient with respect to hidden states [n, width], from that of `before_transform`."""
    return gradient.to(model.lm_head.weight.dtype) @ model.lm_head.weight


def pieces(outputs: Tensor) -> Iterator[slice]:
    """Yield slices of the positions of logits [n, vocabulary], for work on single logits.

    On a CPU, float32 copies of a slice stay in the processor's cache, which takes a fraction of the time.
    """
    rows = len(outputs) if outputs.is_cuda else max(1, 2**20 // outputs.shape[-1])
    for start in range(0, len(outputs), rows):
        yield slice(start, start + rows)


def head_chunk(model: "PreTrainedModel | Head") -> int:
    """Return how many positions go through the head at a time."""
    return head_positions(model.lm_head.out_features, on_gpu=model.device.type == "cuda")


def chunks(
    model: "PreTrainedModel | Head", hidden: Tensor, dtype: torch.dtype | None = torch.float32
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the logits of hidden states [n, width] chunk by chunk, each with its slice of positions.

    With `dtype` None, they have the model's dtype.
    """
    step = head_chunk(model)
    for start in range(0, len(hidden), step):
        part = slice(start, min(start + step, len(hidden)))
        outputs = logits(model, hidden[part])
        yield part, outputs if dtype is None else outputs.to(dtype)


def token_losses(model: "PreTrainedModel", hidden: Tensor, tokens: Tensor) -> Tensor:
    """Return the cross-entropy in nats of each token but the first of its sequence [batch, length - 1].

    Args:
        model: the model, for its head.
        hidden: last hidden states [batch, length, width] for the tokens.
        tokens: [batch, length].
    """
    hidden = hidden[:, :-1].flatten(0, 1)
    targets = tokens[:, 1:].flatten().to(hidden.device)
    losses = [
        cross_entropy(outputs, targets[part], reduction="none") for part, outputs in chunks(model, hidden)
    ]
    return torch.cat(losses).view(len(tokens), -1)


def check_blocks(model: "PreTrainedModel", blocks: Tensor) -> None:
    """Check the blocks' tokens against the model's vocabulary.

    Raises:
        HfpruneError: a token is not in the vocabulary.
    """
    if blocks.max() >= model.config.vocab_size:
        raise HfpruneError(
            "the calibration blocks hold tokens that the model does not have; make them for this model"
        )


class LastStates(NamedTuple):
    """The last hidden states of a model, and its head, which turns them into logits."""

    states: Tensor
    """[blocks, length, width] in the model's dtype, on the CPU."""
    head: Head


def last_states(model: "PreTrainedModel", tokens: Tensor, batch: int) -> Tensor:
    """Return the last hidden states for tokens [blocks, length], `batch` blocks at a time, as in `LastStates`."""
    states = torch.empty((*tokens.shape, model.config.hidden_size), dtype=model.dtype)
    with torch.inference_mode(), tqdm(total=len(tokens), desc="dense model", unit="block") as bar:
        for part, target in zip(tokens.split(batch), states.split(batch), strict=True):
            target.copy_(hidden_states(model, part.to(model.device, torch.int64)))
            bar.update(len(part))
    return states
