"""The operations that this process has done: matrix products of its models, counted from what they read.

Hooks on a model's decoder and its head see every pass, whoever calls it, at the cost of microseconds a pass. The
counts are those of `hfprune.models.shape`, taken from the modules instead of a configuration.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hfprune.devices.operations import DONE
from hfprune.errors import HfpruneError
from hfprune.models.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def meter(model: "PreTrainedModel") -> None:
    """Count the passes of a model from now on, also after it is cut or gets adapters.

    The hooks do not hold the model, which must go when its last user lets it go, even where its head is kept.
    """
    sizes: dict[tuple[Any, ...], tuple[float, float]] = {}

    def read(decoder: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tokens = named["input_ids"] if named.get("input_ids") is not None else arguments[0]
        cache = named.get("past_key_values")
        length = tokens.shape[1] + (cache.get_seq_length() if cache is not None else 0)
        # The sizes are summed again only when a plan or adapters have changed the layers.
        key = (
            decoder.training,
            *((id(layer), _inputs(layer.mlp.down_proj), _channels(layer)) for layer in decoder.layers),
        )
        if key not in sizes:
            sizes[key] = _sizes(decoder, decoder.training)
        per_token, per_pair = sizes[key]
        DONE.flops += tokens.numel() * (per_token + length * per_pair)
        DONE.dtype = str(decoder.dtype).removeprefix("torch.")

    def predicted(head: Any, inputs: "tuple[Tensor]", _logits: "Tensor") -> None:
        # Training also goes back to the hidden states.
        DONE.flops += 2 * inputs[0].numel() * head.out_features * (1 + head.training)

    model.model.register_forward_pre_hook(read, with_kwargs=True)
    model.get_output_embeddings().register_forward_hook(predicted)


def count_backward(
    model: "PreTrainedModel",
    tokens: "Tensor",
    *,
    from_attention: bool,
    forms: Mapping[str, int],
    lowest: int = 0,
) -> None:
    """Count a backward pass of scoring for `tokens` [batch, length]; nothing if a configuration lacks the sizes.

    Args:
        model: the dense model.
        tokens: what the pass read.
        from_attention: whether key-value groups are scored in the same pass.
        forms: of how many layers the gradients of the weights are computed as well, by kind of unit.
        lowest: the layer that the pass goes back to.
    """
    try:
        shape = Shape.of_config(model.config.to_dict())
    except HfpruneError:
        return
    count = tokens.numel()
    above = replace(shape, layers=shape.layers - lowest)
    DONE.flops += above.backward(count, count * tokens.shape[1], from_attention=from_attention)
    DONE.flops += 2 * count * sum(number * shape.unit_weights([kind]) for kind, number in forms.items())


def _sizes(decoder: "nn.Module", training: bool) -> tuple[float, float]:
    """Return the operations of a token, and of a pair of tokens, in all layers; of a whole step in training."""
    from torch import nn

    layers: Any = decoder.layers
    linears = [part for layer in layers for part in layer.modules() if isinstance(part, nn.Linear)]
    per_token = 2 * sum(x.weight.numel() * (1 + training * (1 + x.weight.requires_grad)) for x in linears)
    if training:
        # Nothing needs the gradient of the input of the first layer's q, k and v.
        attention = layers[0].self_attn
        projections = [getattr(attention, f"{name}_proj", None) for name in "qkv"]
        parts = [part for projection in projections if projection for part in projection.modules()]
        width = decoder.embed_tokens.embedding_dim  # type: ignore[union-attr]
        entries = [part for part in parts if isinstance(part, nn.Linear) and part.in_features == width]
        per_token -= 2 * sum(part.weight.numel() for part in entries)
    return per_token, 4.0 * sum(map(_channels, layers)) * (1 + 2 * training)


def _channels(layer: Any) -> int:
    """Return the width of a layer's attention, over all query heads; 0 if its parts have other names."""
    return _inputs(getattr(getattr(layer, "self_attn", None), "o_proj", None))


def _inputs(linear: Any) -> int:
    """Return the width of the input of a linear layer, with or without an adapter; 0 of none."""
    return 0 if linear is None else getattr(linear, "base_layer", linear).in_features
