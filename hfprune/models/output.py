"""The output of a model over blocks of tokens, kept so that the model itself need not stay in memory."""

import shutil
from tempfile import NamedTemporaryFile, gettempdir
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hfprune.errors import HfpruneError
from hfprune.models.head import Head, hidden_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# More than this many bytes of hidden states wait in a temporary file.
IN_MEMORY = 2**30


class Output(NamedTuple):
    """The last hidden states of a model, and its head, which makes logits of them."""

    states: Tensor
    """[blocks, length, width] in the model's dtype, on the CPU."""
    head: Head


def output(model: "PreTrainedModel", tokens: Tensor, batch: int) -> Output:
    """Return the output of a model for blocks of tokens.

    Args:
        model: may change, or go, afterwards.
        tokens: int [blocks, length].
        batch: blocks of one forward pass.
    """
    states = _space((*tokens.shape, model.config.hidden_size), model.dtype)
    with torch.inference_mode(), tqdm(total=len(tokens), desc="dense model", unit="block") as bar:
        for part, target in zip(tokens.split(batch), states.split(batch), strict=True):
            target.copy_(hidden_states(model, part.to(model.device, torch.int64)))
            bar.update(len(part))
    return Output(states, Head.of(model))


def _space(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    size = torch.Size(shape).numel()
    if size * dtype.itemsize <= IN_MEMORY:
        return torch.empty(shape, dtype=dtype)
    free = shutil.disk_usage(gettempdir()).free
    if free < size * dtype.itemsize:  # a mapping that outgrows the disk would end the process without a word
        raise HfpruneError(
            f"{gettempdir()}: {size * dtype.itemsize / 1e9:.1f} GB of the dense model's output do not fit; "
            "set TMPDIR to a larger disk, or read fewer sequences"
        )
    # The mapping stays when the name goes, so that nothing is left after a kill.
    with NamedTemporaryFile() as file:
        return torch.from_file(file.name, shared=True, size=size, dtype=dtype).view(shape)
