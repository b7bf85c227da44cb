"""Loading of models and tokenizers from folders, and default batch sizes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hfprune.devices.batches import batch_tokens, training_tokens
from hfprune.devices.lease import default_device, lease_all
from hfprune.devices.visible import visible_gpus
from hfprune.errors import KIND, REASON, HfpruneError, explained
from hfprune.files import read_json
from hfprune.models.checks import check_model
from hfprune.models.fused import separate
from hfprune.models.on_disk import read_as_saved
from hfprune.models.shape import own_sizes
from hfprune.models.sizes import describe, layer_sizes, resize
from hfprune.models.units import gated_mlps
from hfprune.settings import DeviceMap

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def default_batch_tokens() -> int:
    """Return the tokens of a forward pass on the kind of device that is visible."""
    return batch_tokens(on_gpu=visible_gpus() > 0)


def default_training_tokens() -> int:
    """Return the tokens of a forward pass of training on the kind of device that is visible."""
    return training_tokens(on_gpu=visible_gpus() > 0)


def load_model(
    path: str | os.PathLike[str],
    dtype: str | None = None,
    device: torch.device | None = None,
    *,
    device_map: DeviceMap | None = None,
) -> "PreTrainedModel":
    """Load a model from a folder for inference, dense, pruned or compact: frozen weights, `eval` mode.

    Args:
        path: folder with `config.json` and safetensors, as `hfprune fetch`, `hfprune export` or `save_pretrained`
            writes it.
        dtype: `float32`, `bfloat16` or `float16`; by default the checkpoint's.
        device: by default `default_device()`.
        device_map: instead of one device, `auto`: all GPUs, which this process then leases; or `disk`: the weights
            stay in their files, and the CPU computes.

    Raises:
        HfpruneError: there is no such model, its weights are damaged, its architecture or head is not
            supported, it does not fit the devices of `device_map`, or with `disk` its files have another dtype.
    """
    path = Path(path)
    _require_model(path)
    sum_exactly()
    if device_map == "auto":
        lease_all()
    if device_map == "disk":
        dtype, device = read_as_saved(path, dtype), torch.device("cpu")
    # Whatever a foreign folder makes transformers or safetensors raise.
    with explained(f"{path}: cannot load the model ({KIND}: {REASON})", Exception, most=300):
        model, lacking = read_folder(
            path,
            dtype="auto" if dtype is None else getattr(torch, dtype),
            device_map="auto" if device_map == "auto" else {"": device or default_device()},
            use_safetensors=True,
            local_files_only=True,
        )
    if lacking:
        # transformers would fill them with random numbers and a warning.
        raise HfpruneError(f"{path}: its safetensors lack {len(lacking)} weights, the first is {lacking[0]}")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise HfpruneError(f"{path}: the model is larger than the memory of all visible devices together")
    model.__dict__["weights_on_disk"] = device_map == "disk"
    model.eval().requires_grad_(False)
    separate(model)
    check_model(model)
    return model


def read_folder(path: Path, **options: Any) -> tuple[Any, list[str]]:
    """Return a model and the names of the weights that its files lack."""
    from transformers import AutoModelForCausalLM

    if own_sizes(read_json(path / "config.json")):
        from hfprune.models.compact import load

        return load(path, **options), []
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path, trust_remote_code=False, output_loading_info=True, **options
    )
    return loaded[0], sorted(loaded[1]["missing_keys"])


def sum_exactly() -> None:
    """Make matrix products on a GPU as precise as their dtype; elsewhere this changes nothing.

    By default torch lets cuBLAS sum the parts of a product in bfloat16 or float16, and a library or an environment
    variable may let it round float32 to TF32, which keeps 10 of 23 bits.
    """
    torch.set_float32_matmul_precision("highest")
    products = torch.backends.cuda.matmul
    products.allow_bf16_reduced_precision_reduction = False
    products.allow_fp16_reduced_precision_reduction = False
    torch.backends.cudnn.allow_tf32 = False


def load_checkpoint(
    path: Path, dense: Path, dtype: str | None = None, device_map: DeviceMap | None = None
) -> "PreTrainedModel":
    """Load a checkpoint that an external baseline made from a dense model; see `load_model`.

    Raises:
        HfpruneError: see `load_model` and `require_series`.
    """
    require_series(path, dense)
    return load_model(path, dtype, device_map=device_map)


def require_series(path: Path, dense: Path) -> None:
    """Fail unless a checkpoint shares architecture, vocabulary size and, if it has one, tokenizer with `dense`.

    Raises:
        HfpruneError: one of them differs, or `path` is no checkpoint.
    """
    expected, model = load_skeleton(dense), load_skeleton(path)
    for what, own, wanted in (
        ("architecture", type(model).__name__, type(expected).__name__),
        ("vocabulary size", model.config.vocab_size, expected.config.vocab_size),
    ):
        if own != wanted:
            raise HfpruneError(f"{path}: its {what} is {own}, but that of {dense} is {wanted}")
    if any(path.glob("tokenizer*")) and load_tokenizer(path).get_vocab() != load_tokenizer(dense).get_vocab():
        raise HfpruneError(f"{path}: its tokenizer is not that of {dense}, so that no token means the same")


def _require_model(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise HfpruneError(f"{path}: not a model folder, as `hfprune fetch` makes it: it has no config.json")


def load_skeleton(path: Path) -> "PreTrainedModel":
    """Build the model of a folder on the meta device: all shapes, no weights.

    Raises:
        HfpruneError: there is no such model, or its architecture is not supported.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    _require_model(path)
    # Whatever a foreign config.json makes transformers raise.
    text = f"{path}: config.json is not of a language model that loads ({REASON})"
    with explained(text, Exception, most=300):
        settings = read_json(path / "config.json")
        if sizes := own_sizes(settings):
            del settings["per_layer_config"]
            config = AutoConfig.for_model(**settings)
        else:
            config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    separate(model)
    gated_mlps(model)
    if sizes:
        with explained(text, LookupError):  # a size of a layer that does not exist
            resize(model, sizes)
        describe(model.config, layer_sizes(model))
    return model


def load_tokenizer(path: str | os.PathLike[str]) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a model folder.

    Raises:
        HfpruneError: there is none, or it does not load.
    """
    from transformers import AutoTokenizer

    path = Path(path)
    if path.is_dir() and not any(path.glob("token*")) and not any(path.glob("vocab*")):
        raise HfpruneError(
            f"{path}: cannot load the tokenizer: there is no tokenizer.json; copy the model's there"
        )
    with explained(f"{path}: cannot load the tokenizer ({REASON})", Exception, most=300):
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
