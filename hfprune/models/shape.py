"""The shape of a decoder with gated MLPs: its parameters, and the operations and memory of its passes.

Counts are those of matrix products, a multiply-add as two operations; attention counts all pairs of positions,
masked or not, as `torch.utils.flop_counter` does. The transformer's products are those of Kaplan et al. (arXiv
2001.08361, Table 1) with gate, shared key-value heads and head added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import read_json

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Shape:
    """The sizes that decide what a model costs. Those of a pruned model are means over its layers."""

    layers: float
    hidden: int
    neurons: float
    """Hidden neurons of a layer's MLP."""
    heads: float
    kv_heads: float
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether embedding and head share their weights."""
    biases: int = 0
    """Outputs with a bias in a layer's attention, MLP excluded."""
    mlp_biases: bool = False
    head_norms: bool = False
    """Whether queries and keys are normed, as in Qwen3 and Gemma 3."""
    norms: int = 2
    """Norms of a layer's hidden state; Gemma 2 and 3 norm what attention and MLP give, too."""

    @classmethod
    def of_config(cls, config: Mapping[str, Any], where: str = "config.json") -> "Shape":
        """Read the fields of a model's `config.json`.

        Raises:
            HfpruneError: a field is missing; names it.
        """
        with explained(f"{where}: lacks {REASON}, which the count needs", KeyError):
            hidden, heads = config["hidden_size"], config["num_attention_heads"]
            kv_heads = config.get("num_key_value_heads") or heads
            head_dim = config.get("head_dim") or hidden // heads
            kind = config.get("model_type", "")
            # Qwen2 always has biases on q, k and v; elsewhere `attention_bias` gives them to o as well.
            biases = (heads + 2 * kv_heads) * head_dim
            biases = biases if kind == "qwen2" else (biases + hidden) * bool(config.get("attention_bias"))
            return cls(
                layers=config["num_hidden_layers"],
                hidden=hidden,
                neurons=config["intermediate_size"],
                heads=heads,
                kv_heads=kv_heads,
                head_dim=head_dim,
                vocabulary=config["vocab_size"],
                tied=config.get("tie_word_embeddings", kind.startswith("gemma")),
                biases=biases,
                mlp_biases=bool(config.get("mlp_bias")),
                head_norms=kind.startswith(("qwen3", "gemma3")),
                norms=4 if kind.startswith(("gemma2", "gemma3")) else 2,
            )

    # --- parameters ---------------------------------------------------------------------------------------

    @property
    def attention_weights(self) -> float:
        """Weights of a layer's q, k, v and o."""
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def mlp_weights(self) -> float:
        """Weights of a layer's gate, up and down."""
        return 3 * self.hidden * self.neurons

    @property
    def head_weights(self) -> int:
        """Weights of the head."""
        return self.hidden * self.vocabulary

    @property
    def parameters(self) -> float:
        """All parameters; tied weights count once."""
        biases = self.biases + self.mlp_biases * (2 * self.neurons + self.hidden)
        norms = self.norms * self.hidden + self.head_norms * 2 * self.head_dim
        layer = self.attention_weights + self.mlp_weights + biases + norms
        return self.layers * layer + self.head_weights * (1 if self.tied else 2) + self.hidden

    def pruned(self, ratio: float, kinds: Mapping[Any, float | None] | None = None) -> "Shape":
        """Return the shape after `ratio` of all parameters is removed from these kinds of unit.

        Kinds without shares lose parameters in proportion to what they have; `hfprune budget` rounds to whole
        units.
        """
        goal = ratio * self.parameters
        whole = {
            "neurons": self.layers * self.mlp_weights,
            "key_value_groups": self.layers * self.attention_weights,
            "layers": self.layers * (self.attention_weights + self.mlp_weights),
        }
        shares = dict(kinds or {"neurons": None})
        total = sum(whole[kind] for kind in shares)
        left = {
            kind: 1 - goal * (whole[kind] / total if share is None else share) / whole[kind]
            for kind, share in shares.items()
        }
        groups = left.get("key_value_groups", 1)
        return replace(
            self,
            layers=self.layers * left.get("layers", 1),
            neurons=self.neurons * left.get("neurons", 1),
            heads=self.heads * groups,
            kv_heads=self.kv_heads * groups,
        )

    def adapters(self, rank: int) -> float:
        """Return the parameters of adapters of this rank on all seven projections."""
        inner, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        sides = 2 * (self.hidden + inner) + 2 * (self.hidden + kv) + 3 * (self.hidden + self.neurons)
        return self.layers * rank * sides

    # --- operations ---------------------------------------------------------------------------------------

    def forward(self, tokens: float, pairs: float, positions: float = 0) -> float:
        """Return the operations of a forward pass.

        Args:
            tokens: tokens read.
            pairs: pairs of a query and a key, masked ones too: `length` a token.
            positions: positions whose logits are computed.
        """
        weights = self.layers * (self.attention_weights + self.mlp_weights)
        return 2 * tokens * weights + self.attention(pairs) + 2 * positions * self.head_weights

    def attention(self, pairs: float) -> float:
        """Return the operations of q·k and of the mean of v, over all layers."""
        return 4 * pairs * self.layers * self.heads * self.head_dim

    def backward(self, tokens: float, pairs: float, *, from_attention: bool = False) -> float:
        """Return the operations of one backward pass from the logits to activations, weights frozen.

        The graph begins at the first layer's h or, where attention is scored, at the input of its `o_proj`:
        below, nothing is needed. Each product of two activations, as in attention, has two gradients.
        """
        products = self.attention_weights + self.mlp_weights
        layers = (self.layers - 1) * products + self.hidden * self.neurons
        if from_attention:
            layers += self.mlp_weights - self.hidden * self.neurons + self.hidden * self.heads * self.head_dim
        layers += self.head_weights
        return 2 * tokens * layers + 2 * self.attention(pairs) * (self.layers - 1) / self.layers

    def unit_weights(self, kinds: Iterable[str]) -> float:
        """Return the number of a layer's weights that are units', but for whole layers."""
        found = {"neurons": self.mlp_weights, "key_value_groups": self.attention_weights}
        return sum(found.get(kind, 0) for kind in kinds)

    def training(self, tokens: float, pairs: float, rank: int) -> float:
        """Return the operations of a step that trains adapters of this rank on all seven projections.

        Frozen weights cost a forward product and one backward to activations, adapters a forward and two
        backward ones. The first layer's q, k and v need no gradient of their input.
        """
        frozen = self.layers * (self.attention_weights + self.mlp_weights) + self.head_weights
        entries = (self.heads + 2 * self.kv_heads) * self.head_dim
        unneeded = self.hidden * entries + 3 * rank * self.hidden
        return 2 * tokens * (2 * frozen + 3 * self.adapters(rank) - unneeded) + 3 * self.attention(pairs)

    # --- memory -------------------------------------------------------------------------------------------

    def weights(self, width: int) -> float:
        """Return the bytes of the weights at `width` bytes a number."""
        return self.parameters * width

    def cache(self, width: int) -> float:
        """Return the bytes of the key-value cache of one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * width


@cache
def known_configs() -> dict[str, dict[str, Any]]:
    """Return the fields of the catalogue's models that are written down in `shapes.yaml`, by name."""
    return yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text())


@cache
def known_shapes() -> dict[str, Shape]:
    """Return the shapes of the models of `known_configs`, by name."""
    return {name: Shape.of_config(fields, name) for name, fields in known_configs().items()}


def shape_of(model: str, resources: Path = Path("resources"), folders: Sequence[Path] = ()) -> Shape:
    """Return a model's shape: from its `config.json` where it is fetched, else from `shapes.yaml`.

    Args:
        model: name in the catalogue.
        resources: folder of the fetched assets.
        folders: where else its `config.json` may be, as a model of this machine has one before it is fetched.

    Raises:
        HfpruneError: there is no such file, and the model is not written down.
    """
    for folder in (resources / "models" / model, *folders):
        if (folder / "config.json").is_file():
            return Shape.of_config(read_json(folder / "config.json"), str(folder / "config.json"))
    if model in known_shapes():
        return known_shapes()[model]
    raise HfpruneError(
        f"{model}: its size is not known before it is fetched (`hfprune fetch models/{model}`), "
        "since hfprune/models/shapes.yaml lacks it"
    )
