"""Architectures of llama.cpp: under which of them it computes what a model computes, if under any."""

from typing import TYPE_CHECKING, Any

from gguf import MODEL_ARCH

from hfprune.errors import HfpruneError
from hfprune.exports.widths import aligned_widths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ARCHITECTURES = {
    "llama": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
    "gemma3_text": MODEL_ARCH.GEMMA3,
}
# These rotate neighbouring channels of a head together, transformers those that lie half a head apart.
NEIGHBOURS = (MODEL_ARCH.LLAMA, MODEL_ARCH.DECI)
ELSEWHERE = "export safetensors and convert them with llama.cpp's convert_hf_to_gguf.py"
_WITHOUT_BIAS = {MODEL_ARCH.QWEN3: "Qwen3", MODEL_ARCH.GEMMA3: "Gemma 3"}


def layout(model: "PreTrainedModel", align: int) -> tuple[MODEL_ARCH, list[int]]:
    """Return the architecture under which llama.cpp is to read the model, and the width of each layer.

    llama.cpp reads a width per layer only in some architectures. Unequal LLaMA, Mistral and Qwen2, and a Qwen2
    with biases that were solved for its plan, are written as `deci`, and unequal Qwen3 with tied embeddings and
    plain rope as `openelm`, which compute the same functions. Other Qwen3, and Gemma 3, are padded to the widest
    layer.

    Raises:
        HfpruneError: the architecture or its rope scaling is not supported.
    """
    config = model.config
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise HfpruneError(
            f"GGUF export supports {', '.join(ARCHITECTURES)}, not {config.model_type}; {ELSEWHERE}"
        )
    _require(model, architecture)
    widths = aligned_widths(model, align, equal=False)
    biased = any(name.endswith(("down_proj.bias", "o_proj.bias")) for name, _ in model.named_parameters())
    if biased and architecture in _WITHOUT_BIAS:
        raise HfpruneError(
            f"GGUF export: llama.cpp's {_WITHOUT_BIAS[architecture]} has no bias at down_proj or o_proj, as this "
            "model has; if it was solved for the plan, measure with --plan and --linear, or solve without the bias"
        )
    if len(set(widths)) == 1 and not (biased and architecture is MODEL_ARCH.QWEN2):
        return architecture, widths
    if architecture not in _WITHOUT_BIAS:
        return MODEL_ARCH.DECI, widths
    tied_qwen = architecture is MODEL_ARCH.QWEN3 and config.tie_word_embeddings
    if tied_qwen and config.rope_parameters["rope_type"] == "default":
        return MODEL_ARCH.OPENELM, widths
    return architecture, aligned_widths(model, align, equal=True)


def ropes(model: "PreTrainedModel") -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the settings of the rope, and of that of layers with a window where it is another."""
    rope = model.config.rope_parameters
    return (rope["full_attention"], rope["sliding_attention"]) if "full_attention" in rope else (rope, None)


def _require(model: "PreTrainedModel", architecture: MODEL_ARCH) -> None:
    """Fail unless llama.cpp has the activation, the attention and the ropes of the model."""
    config = model.config
    supports = f"GGUF export of {config.model_type} supports"
    gemma = architecture is MODEL_ARCH.GEMMA3
    known = "gelu_pytorch_tanh" if gemma else "silu"
    if (used := config.hidden_activation if gemma else config.hidden_act) != known:
        raise HfpruneError(f"{supports} the activation {known}, not {used}")
    if gemma and (
        config.query_pre_attn_scalar != config.head_dim
        or getattr(config, "use_bidirectional_attention", False)
    ):
        raise HfpruneError(
            f"{supports} causal attention that is scaled by the size of a head ({config.head_dim}), not by "
            f"{config.query_pre_attn_scalar}; export safetensors"
        )
    rope, sliding = ropes(model)
    scalings = {"default", "linear", *(("llama3",) if architecture in NEIGHBOURS else ())}
    if rope["rope_type"] not in scalings:
        raise HfpruneError(f"{supports} no rope scaling {rope['rope_type']}; export safetensors")
    if sliding and sliding["rope_type"] != "default":
        raise HfpruneError(f"{supports} no rope scaling in layers with a window; export safetensors")
