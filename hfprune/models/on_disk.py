"""Models larger than memory: their weights stay in files, from which the system reads them when they are needed.

safetensors maps a file into memory instead of copying it. The system drops pages that have not been read recently
and reads them again, so that weights take no memory of their own as long as nothing copies them.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hfprune.errors import REASON, HfpruneError, explained
from hfprune.settings import Dtype

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def saved_dtype(folder: Path) -> Dtype:
    """Return the precision of most weights in a model folder.

    Raises:
        HfpruneError: the folder has no weights, or none that a model can compute with.
    """
    text = f"{folder}: it has no safetensors, or damaged ones"
    with explained(text, SafetensorError, OSError, LookupError, ValueError):
        with safe_open(sorted(folder.glob("*.safetensors"))[0], "pt") as file:
            kinds = Counter(file.get_slice(name).get_dtype() for name in file.keys())  # noqa: SIM118
        ((kind, _),) = kinds.most_common(1)
    if kind not in _NAMES:
        raise HfpruneError(
            f"{folder}: its safetensors hold {kind}; --device-map disk takes {', '.join(_NAMES.values())}"
        )
    return cast(Dtype, _NAMES[kind])


def read_as_saved(folder: Path, dtype: str | None) -> Dtype:
    """Return the dtype in which a model on disk computes: that of its files.

    Raises:
        HfpruneError: another dtype is asked for, which would copy all weights.
    """
    saved = saved_dtype(folder)
    if dtype not in (None, saved):
        raise HfpruneError(
            f"--device-map disk: the weights in {folder} are {saved} and are computed with as they are; "
            f"give --dtype {saved}, not {dtype}, or save the model in {dtype} first"
        )
    return saved


def is_on_disk(model: "PreTrainedModel") -> bool:
    """Tell whether a model's weights, and weights made from them, must stay on disk (see `load_model`)."""
    return bool(model.__dict__.get("weights_on_disk"))


def moved(tensor: Tensor) -> Tensor:
    """Write a tensor to disk and return it mapped from there; the file is deleted with the tensor.

    Raises:
        HfpruneError: the disk is full, or the folder is missing.
    """
    folder = os.environ.get("TMPDIR", "/var/tmp")  # /tmp is in memory on some systems
    text = f"{folder}: new weights do not fit there ({REASON}); set TMPDIR to a folder with room on a disk"
    with explained(text, OSError, SafetensorError), TemporaryDirectory(prefix="hfprune-", dir=folder) as new:
        save_file({"weight": tensor}, file := Path(new) / "weight.safetensors")
        return load_file(file)["weight"]


def move(linears: Sequence[nn.Linear]) -> None:
    """Move the new weights of linear layers to disk, in place."""
    for linear in linears:
        for name, weight in [*linear.named_parameters()]:
            setattr(linear, name, nn.Parameter(moved(weight), requires_grad=False))
