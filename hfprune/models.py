"""Loading models, and the structural view that every criterion and plan works on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hfprune.device import default_device
from hfprune.errors import HfpruneError
from hfprune.study import Parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUPPORTED = "LLaMA, Qwen2, Qwen2.5, Qwen3 and others with separate gate_proj, up_proj and down_proj"


@dataclass(frozen=True)
class GatedMLP:
    """One layer's MLP, `down(act(gate(x)) * up(x))` (paper, Eq. 1), with `nn.Linear` weights [out, in].

    Neuron i is row i of `gate` and `up` and column i of `down`; its activation h_i is the input of `down`.
    """

    module: nn.Module
    gate: nn.Linear
    up: nn.Linear
    down: nn.Linear
    activation: nn.Module

    @property
    def width(self) -> int:
        """Number of neurons."""
        return self.down.in_features


def gated_mlps(model: "PreTrainedModel") -> list[GatedMLP]:
    """Return the gated MLP of every decoder layer, first to last.

    Raises:
        HfpruneError: the architecture has no such MLPs; says which and what is supported.
    """
    name = type(model).__name__
    layers = getattr(getattr(model, "model", None), "layers", None)
    if not isinstance(layers, nn.ModuleList) or not isinstance(getattr(model, "lm_head", None), nn.Linear):
        raise HfpruneError(f"{name} is not a decoder with a linear head; supported: {SUPPORTED}")
    return [_gated_mlp(name, index, layer) for index, layer in enumerate(layers)]


def _gated_mlp(name: str, index: int, layer: nn.Module) -> GatedMLP:
    mlp = getattr(layer, "mlp", None)
    parts = [getattr(mlp, part, None) for part in ("gate_proj", "up_proj", "down_proj")]
    linears = [part for part in parts if isinstance(part, nn.Linear)]
    activation = getattr(mlp, "act_fn", None)
    if isinstance(mlp, nn.Module) and isinstance(activation, nn.Module) and len(linears) == len(parts):
        gate, up, down = linears
        return GatedMLP(mlp, gate, up, down, activation)
    if hasattr(mlp, "experts"):
        reason = "is a mixture of experts"
    elif hasattr(mlp, "gate_up_proj"):
        reason = "fuses gate and up projection (gate_up_proj)"
    else:
        reason = "has no gated MLP of three linear layers"
    raise HfpruneError(f"{name}: layer {index} {reason}; supported: {SUPPORTED}")


@dataclass(frozen=True)
class Attention:
    """One layer's grouped-query attention, with `nn.Linear` weights [out, in].

    Group g is key-value head g together with the query heads that read it; in plain multi-head attention that is
    one head. Its activations are a run of `channels` at the input of `o`.
    """

    module: nn.Module
    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    o: nn.Linear
    head_dim: int

    @property
    def groups(self) -> int:
        """Number of key-value heads."""
        return self.k.out_features // self.head_dim

    @property
    def channels(self) -> int:
        """Channels of one group at the output of `q` and at the input of `o`: its query heads × `head_dim`."""
        return self.o.in_features // self.groups


def attentions(model: "PreTrainedModel") -> list[Attention]:
    """Return the attention of every decoder layer, first to last.

    Raises:
        HfpruneError: heads that cannot be cut out one by one; says which layer and why.
    """
    name = type(model).__name__
    return [_attention(name, index, layer) for index, layer in enumerate(model.model.layers)]


def _attention(name: str, index: int, layer: nn.Module) -> Attention:
    module = getattr(layer, "self_attn", None)
    parts = [getattr(module, f"{part}_proj", None) for part in "qkvo"]
    linears = [part for part in parts if isinstance(part, nn.Linear)]
    if not isinstance(module, nn.Module) or len(linears) < len(parts):
        raise HfpruneError(f"{name}: layer {index} has no attention of four linear layers; prune parts: mlp")
    q, k, v, o = linears
    view = Attention(module, q, k, v, o, head_dim=int(module.head_dim))  # type: ignore[arg-type]
    # Per-head norms (Qwen3) serve every head alike; a parameter over all heads would have to be cut too.
    for key, parameter in module.named_parameters():
        if (
            not key.startswith(("q_proj.", "k_proj.", "v_proj.", "o_proj."))
            and len(parameter) != view.head_dim
        ):
            raise HfpruneError(f"{name}: layer {index} has {key} over all heads; prune parts: mlp")
    return view


def tensor_names(parts: Parts, count: int) -> list[str]:
    """Return the names of `count` scores or plan entries in files: `mlp.<layer>`, then `attention.<layer>`."""
    kinds = parts.split("+")
    return [f"{kind}.{layer}" for kind in kinds for layer in range(count // len(kinds))]


def default_batch_tokens() -> int:
    """Return how many tokens to read at a time where nobody says: what saturates the device, and little more.

    On a CPU more is slower: larger activations fall out of the cache and are paged in anew.
    """
    return 16384 if torch.cuda.is_available() else 512


def head_chunk(model: "PreTrainedModel") -> int:
    """Return how many positions to take through the head at a time, so that their logits stay small.

    In float32, one copy of them takes 32 MiB on a CPU, where more would only fall out of the cache, and
    256 MiB on CUDA, where fewer would not keep the device busy; more where the vocabulary is so large that
    reading the head's weights would take longer than the products with fewer positions.
    """
    logits = 2**26 if model.device.type == "cuda" else 2**23
    return max(128, logits // model.lm_head.out_features)


def default_training_tokens() -> int:
    """Return how many tokens to train on at a time where nobody says.

    Fewer than for inference: training keeps the activations of all layers, and logits of all positions in float32.
    """
    return 2048 if torch.cuda.is_available() else 512


def load_model(path: Path, dtype: str | None = None, device: torch.device | None = None) -> "PreTrainedModel":
    """Load a dense model from a folder for inference: frozen weights, `eval` mode.

    Args:
        path: folder with `config.json` and safetensors, as `hfprune fetch` or `save_pretrained` writes it.
        dtype: `float32`, `bfloat16` or `float16`; by default what the checkpoint was saved in.
        device: by default `default_device()`.

    Raises:
        HfpruneError: no such model, damaged weights, an architecture that is not supported, or a head that is
            more than the linear layer that scoring and evaluation go through in chunks.
    """
    from transformers import AutoModelForCausalLM

    _require_model(path)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype="auto" if dtype is None else getattr(torch, dtype),
            device_map={"": device or default_device()},
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a foreign folder makes transformers or safetensors raise
        reason = " ".join(str(error).split())[:300]
        raise HfpruneError(f"{path}: cannot load the model ({type(error).__name__}: {reason})") from error
    model, loading = loaded
    if lacking := sorted(loading["missing_keys"]):
        # transformers would fill them with random numbers and a warning.
        raise HfpruneError(f"{path}: its safetensors lack {len(lacking)} weights, the first is {lacking[0]}")
    model.eval().requires_grad_(False)
    check_model(model)
    return model


def load_checkpoint(path: Path, dense: Path, dtype: str | None = None) -> "PreTrainedModel":
    """Load what an external baseline made of a dense model, see `load_model`.

    Raises:
        HfpruneError: as `load_model`, or another architecture or vocabulary than the dense model's.
    """
    expected = load_skeleton(dense)
    model = load_model(path, dtype)
    for what, found, wanted in (
        ("architecture", type(model).__name__, type(expected).__name__),
        ("vocabulary size", model.config.vocab_size, expected.config.vocab_size),
    ):
        if found != wanted:
            raise HfpruneError(f"{path}: its {what} is {found}, but that of {dense} is {wanted}")
    return model


def _require_model(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise HfpruneError(
            f"{path}: not a model folder (no config.json); "
            f"a model of the catalogue is fetched with `hfprune fetch models/{path.name}`"
        )


def load_skeleton(path: Path) -> "PreTrainedModel":
    """Build the model of a folder on the meta device: all shapes, no weights.

    Raises:
        HfpruneError: no such model, or an architecture that is not supported.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    _require_model(path)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # whatever a foreign config.json makes transformers raise
        reason = " ".join(str(error).split())[:300]
        raise HfpruneError(f"{path}: config.json is not of a language model that loads ({reason})") from error
    gated_mlps(model)
    return model


@torch.no_grad()
def check_model(model: "PreTrainedModel") -> None:
    """Check that scoring and evaluation may go through the layers and the head of `model` by themselves.

    Raises:
        HfpruneError: an MLP that is not gated, or logits that are not just `lm_head(last hidden state)`, e.g.
            soft-capped or scaled.
    """
    gated_mlps(model)
    tokens = torch.arange(4, device=model.device).unsqueeze(0)
    expected = model(input_ids=tokens).logits
    logits = model.lm_head(hidden_states(model, tokens))
    if not torch.allclose(logits, expected, rtol=0, atol=0, equal_nan=True):
        raise HfpruneError(
            f"{type(model).__name__} transforms its logits after the head; supported: {SUPPORTED}"
        )


def hidden_states(model: "PreTrainedModel", tokens: Tensor) -> Tensor:
    """Return the normalised last hidden state [batch, length, width] for `tokens` [batch, length]."""
    return model.model(input_ids=tokens, use_cache=False).last_hidden_state


def load_tokenizer(path: Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a model folder.

    Raises:
        HfpruneError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise HfpruneError(f"{path}: cannot load the tokenizer ({reason})") from error
