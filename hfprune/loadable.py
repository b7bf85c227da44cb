"""What a pruned model must become before plain `from_pretrained` can load it."""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from hfprune.errors import HfpruneError
from hfprune.models import gated_mlps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def loadable(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the model, or one of the same function to save in its stead, whose checkpoint loads plainly.

    A config has one MLP width: narrower layers are padded with neurons of zero weight. And transformers refuses a
    LLaMA config whose number of heads does not divide the hidden size, whatever its `head_dim`: such a model
    becomes a Mistral without sliding window, which is the same computation. Weights are shared where they
    can be; buffers that no checkpoint holds stay on the meta device.

    Raises:
        HfpruneError: there is no such model.
    """
    widths = {mlp.width for mlp in gated_mlps(model)}
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
            f"{llama.hidden_size}, and a Mistral, which could stand for it, has no biases; "
            "measure with --plan, or choose a ratio that leaves another number of heads"
        )
    ours = llama.to_dict()
    shared = MistralConfig().to_dict().keys() & ours.keys() - {"model_type", "architectures"}
    return MistralForCausalLM, MistralConfig(sliding_window=None, **{key: ours[key] for key in shared})


def _padded(model: "PreTrainedModel", width: int) -> dict[str, Tensor]:
    """Return the model's weights with every MLP padded to `width`; act(0) · 0 = 0, so nothing is added."""
    state = model.state_dict()
    for layer, mlp in enumerate(gated_mlps(model)):
        extra = width - mlp.width
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
