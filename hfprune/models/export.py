"""Export: write a pruned model as a checkpoint that plain `from_pretrained` loads."""

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory, write_json
from hfprune.models.load import load_tokenizer
from hfprune.models.units import count_parameters, gated_mlps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def export(model: "PreTrainedModel", source: Path, out: Path, made: dict[str, Any] | None = None) -> int:
    """Write a pruned model and the tokenizer of `source` as a checkpoint that plain `from_pretrained` loads.

    Narrower layers are padded with zeros to the widest one: more on disk, and the same function.
    `provenance.json` beside the weights holds both parameter counts and `made`.

    Returns:
        The number of parameters in the checkpoint.

    Raises:
        HfpruneError: no config can describe the model, or `out` holds something other than an earlier export.
    """
    if out.exists() and (out.resolve() == source.resolve() or not _is_checkpoint(out)):
        raise HfpruneError(
            f"{out}: exists and is no earlier export; choose another folder (nothing was touched)"
        )
    tokenizer = load_tokenizer(source)
    written = loadable(model)
    sizes = {"parameters": count_parameters(model), "parameters_on_disk": count_parameters(written)}
    with atomic_directory(out) as temporary:
        written.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_json(temporary / "provenance.json", (made or {}) | sizes)
    return sizes["parameters_on_disk"]


def _is_checkpoint(folder: Path) -> bool:
    """Tell whether a folder is empty or holds a checkpoint and nothing else, so that it may be replaced."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    known = (".json", ".safetensors", ".jinja", ".txt", ".model")
    return not names or ("config.json" in names and all(name.endswith(known) for name in names))


def loadable(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the model, or an equivalent one whose checkpoint `from_pretrained` loads.

    A config has one MLP width, so narrower layers are padded with neurons of zero weight. transformers
    refuses a LLaMA config whose number of heads does not divide the hidden size, whatever its `head_dim`;
    such a model becomes a Mistral without sliding window, which computes the same. Weights are shared where
    possible; buffers that no checkpoint holds stay on the meta device.

    Raises:
        HfpruneError: no config of transformers describes the model.
    """
    widths = {mlp.count for mlp in gated_mlps(model)}
    odd = model.config.model_type == "llama" and model.config.hidden_size % model.config.num_attention_heads
    if len(widths) == 1 and not odd:
        return model
    kind, config = _mistral(model.config) if odd else (type(model), deepcopy(model.config))
    config.intermediate_size = max(widths)
    with torch.device("meta"):
        twin = kind(config)
    twin.load_state_dict(_padded(model, max(widths)), assign=True)
    twin.tie_weights()
    twin.generation_config = model.generation_config
    return twin


def _mistral(llama: Any) -> tuple[type["PreTrainedModel"], Any]:
    from transformers import MistralConfig, MistralForCausalLM

    if llama.attention_bias or llama.mlp_bias:
        raise HfpruneError(
            f"cannot export: transformers refuses a LLaMA of {llama.num_attention_heads} heads at hidden size "
            f"{llama.hidden_size}, and a Mistral, which could replace it, has no biases; "
            "measure with --plan, or choose a ratio that leaves another number of heads"
        )
    ours = llama.to_dict()
    shared = MistralConfig().to_dict().keys() & ours.keys() - {"model_type", "architectures"}
    return MistralForCausalLM, MistralConfig(sliding_window=None, **{key: ours[key] for key in shared})


def _padded(model: "PreTrainedModel", width: int) -> dict[str, Tensor]:
    """Return the weights with every MLP padded to `width`; act(0) · 0 = 0, so outputs do not change."""
    state = model.state_dict()
    for layer, mlp in enumerate(gated_mlps(model)):
        extra = width - mlp.count
        # Last dimension first: rows of gate and up, biases, columns of down.
        for key, amounts in (
            ("gate_proj.weight", (0, 0, 0, extra)),
            ("gate_proj.bias", (0, extra)),
            ("up_proj.weight", (0, 0, 0, extra)),
            ("up_proj.bias", (0, extra)),
            ("down_proj.weight", (0, extra)),
        ):
            name = f"model.layers.{layer}.mlp.{key}"
            if extra and name in state:
                state[name] = pad(state[name], amounts)
    return state
