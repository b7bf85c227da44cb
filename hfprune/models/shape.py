"""The shape of a decoder with gated MLPs: its parameters, and the operations and memory of its passes.

A multiply-add counts as two operations. Biases and norms, a thousandth of the parameters, are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hfprune.devices.batches import batch_tokens, head_positions
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import read_json

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Sizes of single layers: number of the layer → name in a config → size.
LayerSizes = dict[int, dict[str, int]]
OWN = {"intermediate_size", "num_attention_heads", "num_key_value_heads"}


def own_sizes(config: Mapping[str, Any]) -> LayerSizes:
    """Return the sizes of the layers that differ, from the fields of a `config.json`; empty if all are equal.

    Also empty for architectures whose layers transformers itself builds by `per_layer_config`, which uses other
    names.
    """
    listed = config.get("per_layer_config") or {}
    sizes = {int(number): {**own} for number, own in listed.items()}
    return sizes if all(own.keys() <= OWN for own in sizes.values()) else {}


@dataclass(frozen=True)
class Shape:
    """The dimensions of a decoder with gated MLPs that count in parameters, operations and memory."""

    layers: int
    hidden: int
    neurons: float
    """Hidden neurons of a layer's MLP; in a pruned model their mean over layers."""
    heads: float
    """Query heads of a layer, or their mean."""
    kv_heads: float
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether embedding and head share their weights."""

    @classmethod
    def of_config(cls, config: Mapping[str, Any], where: str = "config.json") -> "Shape":
        """Read the fields of a model's `config.json`, or those of its text part.

        Raises:
            HfpruneError: a field is missing; names the file and the field.
        """
        config = config.get("text_config") or config
        with explained(f"{where}: lacks {REASON}, which the count needs", KeyError):
            hidden, heads = config["hidden_size"], config["num_attention_heads"]
            layers, own = config["num_hidden_layers"], own_sizes(config).values()

            def mean(name: str, common: int) -> float:
                sizes = [layer.get(name, common) for layer in own]
                return (sum(sizes) + common * (layers - len(sizes))) / layers if sizes else common

            return cls(
                layers=layers,
                hidden=hidden,
                neurons=mean("intermediate_size", config["intermediate_size"]),
                heads=mean("num_attention_heads", heads),
                kv_heads=mean("num_key_value_heads", config.get("num_key_value_heads") or heads),
                head_dim=config.get("head_dim") or hidden // heads,
                vocabulary=config["vocab_size"],
                tied=config.get("tie_word_embeddings", config.get("model_type", "").startswith("gemma")),
            )

    @property
    def attention_weights(self) -> float:
        """Weights of one layer's q, k, v and o projections."""
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def mlp_weights(self) -> float:
        """Weights of one layer's gate, up and down projections."""
        return 3 * self.hidden * self.neurons

    @property
    def products(self) -> float:
        """Weights that each token is multiplied by: all but the embedding."""
        return self.layers * (self.attention_weights + self.mlp_weights) + self.hidden * self.vocabulary

    @property
    def parameters(self) -> float:
        """All weights; tied ones count once."""
        embedding = 0 if self.tied else self.hidden * self.vocabulary
        return self.products + embedding

    def pruned(self, ratio: float) -> "Shape":
        """Return the shape without `ratio` of all parameters, as if neurons alone were removed."""
        left = 1 - ratio * self.parameters / (self.layers * self.mlp_weights)
        return replace(self, neurons=self.neurons * left)

    def forward(self, tokens: float, length: float) -> float:
        """Return the operations of a forward pass with the logits of all positions.

        They are 2 N per token, and in attention 4 per channel of each of the `length` tokens that a token is
        paired with, masked or not.
        """
        return tokens * (2 * self.products + 4 * length * self.layers * self.heads * self.head_dim)

    def weights(self, dtype: str) -> float:
        """Return the bytes of all weights, tied ones once."""
        return self.parameters * BYTES[dtype]

    def logits(self, *, on_gpu: bool) -> float:
        """Return the bytes of one float32 copy of a chunk of logits."""
        return 4 * head_positions(self.vocabulary, on_gpu=on_gpu) * self.vocabulary

    def reading(self, dtype: str, *, on_gpu: bool) -> float:
        """Return the bytes that forward passes take: weights, and the larger of MLP activations and logits."""
        # Four copies of the hidden states beside an MLP's activations, or three copies of the float32 logits.
        layer = batch_tokens(on_gpu=on_gpu) * BYTES[dtype] * (3 * self.neurons + 4 * self.hidden)
        return self.weights(dtype) + max(layer, 3 * self.logits(on_gpu=on_gpu))

    def cached(self, dtype: str) -> float:
        """Return the bytes of one token's keys and values in all layers."""
        return BYTES[dtype] * 2 * self.layers * self.kv_heads * self.head_dim

    def kept(self, dtype: str) -> float:
        """Return the bytes that a token of one layer keeps for a backward pass to activations.

        The inputs of both norms in float32, q, k, v and the output of attention, gate and up.
        """
        attention = (self.heads + self.kv_heads) * self.head_dim
        return 8 * self.hidden + BYTES[dtype] * 2 * (attention + self.neurons)

    def trained(self, dtype: str, *, on_gpu: bool) -> float:
        """Return the bytes that a token of one layer keeps for a step of training adapters on all projections.

        To `kept` come the activated gate, each adapter's input, and its dropout mask, which takes one byte per
        number on a GPU and 4 on a CPU.
        """
        read = 5 * self.hidden + self.heads * self.head_dim + self.neurons
        mask = 1 if on_gpu else 4
        return self.kept(dtype) + BYTES[dtype] * self.neurons + read * (BYTES[dtype] + mask)


@cache
def known_configs() -> dict[str, dict[str, int | bool | str]]:
    """Return the config fields of the models in `shapes.yaml`, by name."""
    return yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text())


@cache
def known_shapes() -> dict[str, Shape]:
    """Return the shapes of the models in `shapes.yaml`, by name."""
    return {name: Shape.of_config(fields, name) for name, fields in known_configs().items()}


def shape_of(model: str, folders: Sequence[Path]) -> Shape:
    """Return a model's shape: from the first `config.json` in these folders, or else from `shapes.yaml`.

    Raises:
        HfpruneError: neither has it.
    """
    for folder in folders:
        if (folder / "config.json").is_file():
            return Shape.of_config(read_json(folder / "config.json"), str(folder / "config.json"))
    if model in known_shapes():
        return known_shapes()[model]
    raise HfpruneError(
        f"{model}: its size is not known before it is fetched (`hfprune fetch models/{model}`), "
        "since hfprune/models/shapes.yaml lacks it"
    )
