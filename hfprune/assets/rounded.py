"""Noise of the size of rounding errors in the weights of a model, the same bytes on every machine."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hfprune.assets.catalogue import RoundedSource
from hfprune.errors import HfpruneError
from hfprune.files import share
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

# Weights that share a step, as in the formats Q4_0 to Q5_1 of llama.cpp.
BLOCK = 32
# Weights of modules within the decoder's layers; of these, the matrices are those of linear layers.
_IN_LAYERS = re.compile(r"(.+\.)?layers\.\d+\..+\.weight")


def add_noise(file: Path, target: Path, source: RoundedSource) -> None:
    """Write a safetensors file with noise in the matrices of decoder layers, and all else unchanged.

    Raises:
        HfpruneError: a matrix has numbers that are not finite.
    """
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    for name, weight in tensors.items():
        if weight.ndim == 2 and _IN_LAYERS.fullmatch(name):
            if not weight.isfinite().all():
                raise HfpruneError(f"{file}: {name} is not finite; fetch or copy the base again")
            tensors[name] = noisy(weight, name, source)
    save_file(tensors, target, {"format": "pt"})
    share(target.parent)


def noisy(weight: "Tensor", name: str, source: RoundedSource) -> "Tensor":
    """Return a matrix [outputs, inputs] with uniform noise in ± steps · Δ / 2, drawn by the seed and its name.

    Δ is the step of a weight's block (`block_steps`). The sum is in float64 and rounded once to the dtype.
    """
    import numpy as np
    import torch

    # NumPy keeps the raw stream of a bit generator the same in all its versions, but not the floats made of it.
    raw = np.random.Philox(key=derive_seed(source.seed, "rounded", name)).random_raw(weight.numel())
    share_of_step = ((raw >> np.uint64(40)).astype(np.float64) + 0.5) / 2**24 - 0.5
    noise = torch.from_numpy(share_of_step).view_as(weight) * source.steps * block_steps(weight, source.bits)
    return (weight.double() + noise).to(weight.dtype)


def block_steps(weight: "Tensor", bits: int) -> "Tensor":
    """Return Δ for each weight of a matrix [outputs, inputs], float64.

    Δ = (max - min) / (2^bits - 1), the step of rounding to nearest between a block's least and greatest weight.
    Blocks are 32 weights along the inputs; the last may be shorter.
    """
    import torch

    spans = [
        part.amax(1, keepdim=True) - part.amin(1, keepdim=True) for part in weight.double().split(BLOCK, 1)
    ]
    return (torch.cat(spans, 1) / (2**bits - 1)).repeat_interleave(BLOCK, 1)[:, : weight.shape[1]]
