"""What a pruned model must become before plain `from_pretrained` can load it."""

from typing import TYPE_CHECKING

import torch

from hfprune.errors import HfpruneError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def loadable(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the model, or one of the same function and weights, whose checkpoint loads plainly.

    transformers refuses a LLaMA config whose number of heads does not divide the hidden size, whatever its
    `head_dim`. Such a model is returned as a Mistral without sliding window, which is the same computation.

    Raises:
        HfpruneError: there is no such model.
    """
    config = model.config
    if config.model_type != "llama" or config.hidden_size % config.num_attention_heads == 0:
        return model
    if config.attention_bias or config.mlp_bias:
        raise HfpruneError(
            f"cannot export: transformers refuses a LLaMA of {config.num_attention_heads} heads at hidden size "
            f"{config.hidden_size}, and a Mistral, which could stand for it, has no biases; "
            "measure with --plan, or choose a ratio that leaves another number of heads"
        )
    return _as_mistral(model)


def _as_mistral(model: "PreTrainedModel") -> "PreTrainedModel":
    from transformers import MistralConfig, MistralForCausalLM

    ours = model.config.to_dict()
    shared = MistralConfig().to_dict().keys() & ours.keys() - {"model_type", "architectures"}
    with torch.device("meta"):
        twin = MistralForCausalLM(MistralConfig(sliding_window=None, **{key: ours[key] for key in shared}))
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.tie_weights()
    twin.generation_config = model.generation_config
    return twin
