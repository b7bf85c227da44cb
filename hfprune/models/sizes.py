"""The sizes of a model's layers, which may differ after pruning, in a config of transformers."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from hfprune.errors import HfpruneError
from hfprune.models.shape import LayerSizes, own_sizes
from hfprune.models.units import attentions, gated_mlps, units_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Field that lets transformers read one size for all layers although they differ.
READ = "allow_global_per_layer_attribute_access"


def layer_sizes(model: "PreTrainedModel") -> LayerSizes:
    """Return the sizes of every decoder layer by their names in a config.

    Heads that cannot be cut are left out; they are those of the config.
    """
    sizes = {number: {"intermediate_size": mlp.count} for number, mlp in enumerate(gated_mlps(model))}
    with suppress(HfpruneError):
        for own, groups in zip(sizes.values(), attentions(model), strict=True):
            own["num_attention_heads"] = groups.o.in_features // groups.head_dim
            own["num_key_value_heads"] = groups.count
    return sizes


def unlike(sizes: LayerSizes) -> LayerSizes:
    """Return, for every layer, the sizes that differ between layers; empty if none does."""
    names = [name for name in sizes[0] if len({own[name] for own in sizes.values()}) > 1]
    if not names:
        return {}
    return {number: {name: own[name] for name in names} for number, own in sizes.items()}


def largest(sizes: LayerSizes) -> dict[str, int]:
    """Return each size's maximum over the layers."""
    return {name: max(own[name] for own in sizes.values()) for name in sizes[0]}


def own_config(sizes: LayerSizes) -> dict[str, Any]:
    """Return the fields of a config that say how layers differ; empty if all are equal.

    With `per_layer_config`, transformers 5.14 and later raise `AmbiguousGlobalPerLayerAttributeError` where one of
    these sizes is read for all layers, unless that is allowed. 5.24 reads the number of heads in this way even
    when it only checks the config of a LLaMA, a Gemma or a Phi-3.
    """
    differ = unlike(sizes)
    read = any("num_attention_heads" in own for own in differ.values())
    fields: dict[str, Any] = {"per_layer_config": differ} if differ else {}
    return fields | ({READ: True} if read else {})


def describe(config: Any, sizes: LayerSizes, *, own: bool = True) -> None:
    """Write the sizes of all layers into a config of transformers, in place.

    A global size is the largest of all layers, so that a program that reads nothing else misses weights and fails
    instead of computing something wrong. `own` adds how layers differ.
    """
    # Where transformers itself builds layers by `per_layer_config`, the architecture's own entries stay.
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
        own = {f"{prefix}.{number}": size[name] for number, size in sizes.items() if name in size}
        units = units_of(skeleton, [kind]) if own else {}
        for place, count in own.items():
            units[place].keep(torch.arange(count))
