"""The sizes of a model's layers, which a plan may make unlike each other, in a config of transformers."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from hfprune.errors import HfpruneError
from hfprune.models.shape import LayerSizes, own_sizes
from hfprune.models.units import attentions, gated_mlps, units_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Lets transformers read one size for all layers though they have their own.
READ = "allow_global_per_layer_attribute_access"


def layer_sizes(model: "PreTrainedModel") -> LayerSizes:
    """Return the sizes of every decoder layer by their names in a config.

    Heads are left out where they cannot be cut, so that they are those of the config.
    """
    sizes = {number: {"intermediate_size": mlp.count} for number, mlp in enumerate(gated_mlps(model))}
    with suppress(HfpruneError):
        for own, groups in zip(sizes.values(), attentions(model), strict=True):
            own["num_attention_heads"] = groups.o.in_features // groups.head_dim
            own["num_key_value_heads"] = groups.count
    return sizes


def unlike(sizes: LayerSizes) -> LayerSizes:
    """Return those sizes of every layer that are not the same in all; empty if all are."""
    names = [name for name in sizes[0] if len({own[name] for own in sizes.values()}) > 1]
    return {number: {name: own[name] for name in names} for number, own in sizes.items()} if names else {}


def largest(sizes: LayerSizes) -> dict[str, int]:
    """Return the largest of each size over the layers."""
    return {name: max(own[name] for own in sizes.values()) for name in sizes[0]}


def own_config(sizes: LayerSizes) -> dict[str, Any]:
    """Return the fields of a config that say how layers differ; empty where all are alike.

    By `per_layer_config`, transformers 5.14 and later raise `AmbiguousGlobalPerLayerAttributeError` where one of
    these sizes is read for all layers, unless that is allowed: 5.24 reads so the number of heads where it only
    checks the config of a LLaMA, a Gemma or a Phi-3.
    """
    differ = unlike(sizes)
    read = any("num_attention_heads" in own for own in differ.values())
    fields: dict[str, Any] = {"per_layer_config": differ} if differ else {}
    return fields | ({READ: True} if read else {})


def describe(config: Any, sizes: LayerSizes, *, own: bool = True) -> None:
    """Let a config of transformers say the sizes of all layers, in place.

    One number is that of all layers, or the largest: a program that reads no other finds too few weights, and
    fails. How layers differ is left out if it is not wanted (`own`).
    """
    # An architecture whose layers transformers builds so itself keeps what its own says of them.
    if own_sizes(config.to_dict()):
        config.per_layer_config = None
    vars(config).pop(READ, None)
    for name, value in (largest(sizes) | (own_config(sizes) if own else {})).items():
        setattr(config, name, value)


def resize(skeleton: "PreTrainedModel", sizes: LayerSizes) -> None:
    """Cut the layers of a model on the meta device to sizes of their own, in place."""
    kinds = {
        "intermediate_size": ("neurons", "mlp"),
        "num_key_value_heads": ("key_value_groups", "attention"),
    }
    for name, (kind, prefix) in kinds.items():
        own = {f"{prefix}.{number}": of_layer[name] for number, of_layer in sizes.items() if name in of_layer}
        units = units_of(skeleton, [kind]) if own else {}
        for at, count in own.items():
            units[at].keep(torch.arange(count))
