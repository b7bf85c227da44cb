"""Prunable units: neurons of an MLP, key-value groups of attention, decoder layers.

Scores and plans are `dict[str, Tensor]` by names of units: `mlp.<layer>` for the neurons of a layer,
`attention.<layer>` for its key-value groups, `layers` for the decoder layers. Layers are numbered as in the
dense model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hfprune.errors import HfpruneError, nearest
from hfprune.models.cutting import cut, zeroed
from hfprune.models.supported import supported
from hfprune.settings.units import UnitKind as Kind

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Lists in a config with one entry per layer.
LISTS_OF_LAYERS = ("layer_types", "no_rope_layers")


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters; tied weights (embedding and head) count once."""
    return sum(parameter.numel() for parameter in module.parameters())


@dataclass(frozen=True)
class Units(ABC):
    """All units of one kind in a layer or a model; a plan keeps some of them."""

    kind: ClassVar[Kind]

    name: str
    """The key in scores and plans, and in their files."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of units."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of parameters of one unit."""

    @property
    def linears(self) -> tuple[nn.Linear, ...]:
        """The layers whose weights a criterion may read; the last one reads the units' activations."""
        return ()

    @property
    def channels(self) -> int:
        """Channels of one unit's activations at the input of the last of `linears`."""
        return 1

    @property
    def device(self) -> torch.device:
        """Device on which they compute."""
        return self.linears[-1].weight.device

    @abstractmethod
    def keep(self, kept: Tensor) -> None:
        """Slice the model in place to the units `kept`, sorted int64 indices on any device."""

    def mask(self, kept: Tensor, on: Callable[[], bool]) -> list[RemovableHandle]:
        """Let the model, while `on()`, give the outputs that it would have with only the units `kept`."""
        return [zeroed(self.linears[-1], kept, self.channels, on)]


@dataclass(frozen=True)
class Neurons(Units):
    """The neurons of one layer's gated MLP, `down(act(gate(x)) * up(x))` (paper, Eq. 1), weights [out, in].

    Neuron i is row i of `gate` and `up` and column i of `down`; its activation h_i is the input of `down`.
    """

    kind = "neurons"

    module: nn.Module
    gate: nn.Linear
    up: nn.Linear
    down: nn.Linear
    activation: nn.Module

    @property
    def count(self) -> int:
        """Width of the MLP."""
        return self.down.in_features

    @property
    def parameters(self) -> int:
        """A row of gate and of up, a column of down, and the biases of gate and up, if any."""
        biases = sum(linear.bias is not None for linear in (self.gate, self.up))
        return self.gate.in_features + self.up.in_features + self.down.out_features + biases

    @property
    def linears(self) -> tuple[nn.Linear, ...]:
        """Gate, up and down."""
        return self.gate, self.up, self.down

    def keep(self, kept: Tensor) -> None:
        """Slice the three linear layers."""
        kept = kept.to(self.device)
        cut(self.gate, kept, 0)
        cut(self.up, kept, 0)
        cut(self.down, kept, 1)


@dataclass(frozen=True)
class KeyValueGroups(Units):
    """The key-value groups of one layer's attention.

    Group g is key-value head g with the query heads that share it; in plain multi-head attention, one head.
    Its activations are `channels` consecutive channels at the input of `o`.
    """

    kind = "key_value_groups"

    module: nn.Module
    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    o: nn.Linear
    head_dim: int

    @property
    def count(self) -> int:
        """Number of key-value heads."""
        return self.k.out_features // self.head_dim

    @property
    def channels(self) -> int:
        """Channels of one group at the output of `q` and at the input of `o`: its query heads × `head_dim`."""
        return self.o.in_features // self.count

    @property
    def parameters(self) -> int:
        """Rows of q, k and v, columns of o, biases."""
        q, k, v = (linear.in_features + (linear.bias is not None) for linear in (self.q, self.k, self.v))
        return self.channels * (q + self.o.out_features) + self.head_dim * (k + v)

    @property
    def linears(self) -> tuple[nn.Linear, ...]:
        """Projections of queries, keys, values and outputs."""
        return self.q, self.k, self.v, self.o

    def keep(self, kept: Tensor) -> None:
        """Slice q, k, v and o; `num_key_value_groups`, the query heads per group, does not change."""
        kept = kept.to(self.device)

        def channels(size: int) -> Tensor:
            return (kept.unsqueeze(1) * size + torch.arange(size, device=kept.device)).flatten()

        queries, keys = channels(self.channels), channels(self.head_dim)
        cut(self.q, queries, 0)
        cut(self.k, keys, 0)
        cut(self.v, keys, 0)
        cut(self.o, queries, 1)
        if hasattr(self.module, "num_key_value_heads"):  # Phi-3, which reads both numbers in its forward pass
            own: Any = copy(self.module.config)  # layers may differ
            own.per_layer_config = None  # so that this layer's own numbers are read
            own.num_attention_heads = len(queries) // self.head_dim
            self.module.config, self.module.num_key_value_heads = own, len(kept)  # type: ignore[assignment]


@dataclass(frozen=True)
class Layers(Units):
    """The decoder layers of a model."""

    kind = "layers"

    model: "PreTrainedModel"

    @property
    def count(self) -> int:
        """Depth of the model."""
        return len(self.model.model.layers)

    @property
    def parameters(self) -> int:
        """All parameters of a layer; the layers of a dense model have equal sizes."""
        return count_parameters(self.model.model.layers[0])

    @property
    def device(self) -> torch.device:
        """Device of the last layer."""
        return self.model.model.layers[-1].mlp.down_proj.weight.device

    def keep(self, kept: Tensor) -> None:
        """Remove the other layers, so that the model saves as an ordinary shallower one."""
        chosen, config = kept.tolist(), self.model.config
        layers = nn.ModuleList(self.model.model.layers[index] for index in chosen)
        self.model.model.layers = layers
        for index, layer in enumerate(layers):
            for module in layer.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = index  # type: ignore[assignment]  # its index in the KV cache
        config.num_hidden_layers = len(layers)
        for key in LISTS_OF_LAYERS:
            if getattr(config, key, None):
                setattr(config, key, [getattr(config, key)[index] for index in chosen])

    def mask(self, kept: Tensor, on: Callable[[], bool]) -> list[RemovableHandle]:
        """Pass each other layer's input on as its output."""

        def pass_on(_layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            return inputs[0] if on() else output

        chosen = set(kept.tolist())
        gone = [layer for index, layer in enumerate(self.model.model.layers) if index not in chosen]
        return [layer.register_forward_hook(pass_on) for layer in gone]


def units_of(model: "PreTrainedModel", kinds: Iterable[str]) -> dict[str, Units]:
    """Return the units of these kinds by name, kind by kind, first layer to last.

    Raises:
        HfpruneError: the kind is unknown, or the architecture has no such units; names the supported ones.
    """
    find: dict[str, Callable[..., Iterable[Units]]] = {
        "neurons": gated_mlps,
        "key_value_groups": attentions,
        "layers": lambda model: [Layers("layers", model)],
    }
    kinds = [*kinds]
    if unknown := [kind for kind in kinds if kind not in find]:
        raise HfpruneError(f"unknown kind of unit {unknown[0]!r}{nearest(unknown[0], [*find])}")
    return {units.name: units for kind in kinds for units in find[kind](model)}


def gated_mlps(model: "PreTrainedModel") -> list[Neurons]:
    """Return the neurons of every decoder layer, first to last.

    Raises:
        HfpruneError: the architecture has no gated MLPs; names it and the supported ones.
    """
    name = type(model).__name__
    layers = getattr(getattr(model, "model", None), "layers", None)
    if not isinstance(layers, nn.ModuleList) or not isinstance(getattr(model, "lm_head", None), nn.Linear):
        raise HfpruneError(f"{name} is not a decoder with a linear head; {supported()}")
    return [_neurons(name, index, layer) for index, layer in enumerate(layers)]


def _neurons(name: str, index: int, layer: nn.Module) -> Neurons:
    mlp = getattr(layer, "mlp", None)
    parts = [getattr(mlp, part, None) for part in ("gate_proj", "up_proj", "down_proj")]
    linears = [part for part in parts if isinstance(part, nn.Linear)]
    activation = getattr(mlp, "act_fn", None)
    if isinstance(mlp, nn.Module) and isinstance(activation, nn.Module) and len(linears) == len(parts):
        gate, up, down = linears
        own = ("gate_proj.", "up_proj.", "down_proj.")
        others = [(key, weight.shape) for key, weight in mlp.named_parameters() if not key.startswith(own)]
        over_neurons = [key for key, shape in others if down.in_features in shape]
        if not over_neurons:
            return Neurons(f"mlp.{index}", mlp, gate, up, down, activation)
        # With a norm over the neurons (BitNet), the output of each depends on the others.
        reason = f"has mlp.{over_neurons[0]} over all neurons"
    elif any("expert" in part or "moe" in part for part, _ in layer.named_modules()):
        reason = "is a mixture of experts"
    elif hasattr(mlp, "gate_up_proj"):
        reason = "fuses gate and up projection; load it with `hfprune.load`"
    else:
        reason = "has no gated MLP of three linear layers"
    raise HfpruneError(f"{name}: layer {index} {reason}; {supported()}")


def attentions(model: "PreTrainedModel") -> list[KeyValueGroups]:
    """Return the key-value groups of every decoder layer, first to last.

    Raises:
        HfpruneError: the heads of a layer cannot be cut separately; names the layer and the reason.
    """
    return [_groups(type(model).__name__, index, layer) for index, layer in enumerate(model.model.layers)]


def _groups(name: str, index: int, layer: nn.Module) -> KeyValueGroups:
    module = getattr(layer, "self_attn", None)
    parts = [getattr(module, f"{part}_proj", None) for part in "qkvo"]
    linears = [part for part in parts if isinstance(part, nn.Linear)]
    if not isinstance(module, nn.Module) or len(linears) < len(parts):
        raise HfpruneError(f"{name}: layer {index} has no attention of four linear layers; prune neurons")
    q, k, v, o = linears
    head_dim = int(module.head_dim)  # type: ignore[arg-type]
    groups = KeyValueGroups(f"attention.{index}", module, q, k, v, o, head_dim)
    # All heads share a per-head norm (Qwen3); a parameter over all heads would have to be cut, too.
    for key, parameter in module.named_parameters():
        own = key.startswith(("q_proj.", "k_proj.", "v_proj.", "o_proj."))
        if not own and parameter.shape != (head_dim,):
            raise HfpruneError(f"{name}: layer {index} has {key} over all heads; prune neurons")
    return groups
