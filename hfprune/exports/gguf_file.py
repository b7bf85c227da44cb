"""A pruned model as a GGUF file that llama.cpp loads although its layers differ in width.

Few of llama.cpp's architectures read a width for each layer. Two of them compute what we export: `deci` (DeciLM)
is a LLaMA with optional biases as in Qwen2, and `openelm` (OpenELM) is a Qwen3 with tied embeddings.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import torch
from gguf import GGMLQuantizationType, LlamaFileType
from torch import Tensor

from hfprune.errors import HfpruneError
from hfprune.models.load import load_tokenizer
from hfprune.models.shape import LayerSizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ARCHITECTURES = {"llama": "deci", "mistral": "deci", "qwen2": "deci", "qwen3": "openelm"}
_KINDS = {
    torch.float32: (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    torch.float16: (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    torch.bfloat16: (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}
# Patterns by which byte-level tokenizers split text → their names in llama.cpp: LLaMA 3 and Qwen2.
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_PATTERNS = {_LLAMA_3: "llama-bpe", _LLAMA_3.replace("{1,3}", ""): "qwen2"}


def architecture_of(model: "PreTrainedModel", sizes: LayerSizes) -> str:
    """Return the architecture of llama.cpp that computes the model, with a width for each layer.

    Raises:
        HfpruneError: there is none; says why.
    """
    config = model.config
    kind, dim = config.model_type, _head_dim(config)
    architecture = _ARCHITECTURES.get(kind, "")
    rope = model.model.rotary_emb
    widths = {own.get("num_attention_heads", config.num_attention_heads) * dim for own in sizes.values()}
    if not architecture:
        reason = "no architecture with a width for each layer"
    elif _slides(config):
        reason = "no sliding windows with a width for each layer"
    elif architecture == "openelm" and (not config.tie_word_embeddings or config.attention_bias):
        reason = "a width for each layer only where embeddings are tied and attention has no biases"
    elif rope.rope_type not in (["default", "linear", "llama3"] if architecture == "deci" else ["default"]):
        reason = f"no {rope.rope_type} rotary positions with a width for each layer"
    elif (kind == "qwen2" or getattr(config, "attention_bias", False)) and widths != {config.hidden_size}:
        reason = "biases of heads only where these fill the hidden size"
    else:
        return architecture
    raise HfpruneError(
        f"--gguf: llama.cpp has for a {kind} {reason}; export with --plain and take its converter "
        "(docs/exports.md)"
    )


def check_supported(model: "PreTrainedModel", sizes: LayerSizes, source: Path) -> None:
    """Check, before anything is written, that llama.cpp can compute the model and split text as its tokenizer.

    Raises:
        HfpruneError: llama.cpp has no such architecture (see `architecture_of`), or no such splitting as that of
            the tokenizer in `source`.
    """
    architecture_of(model, sizes)
    _splitting(load_tokenizer(source))


def save_gguf(
    file: Path, model: "PreTrainedModel", twin: "PreTrainedModel", sizes: LayerSizes, folder: Path
) -> None:
    """Write a GGUF file in the precision of the model, vectors in float32.

    Args:
        file: file to write.
        model: the pruned model, for its rotary frequencies.
        twin: the exported model, as transformers loads it.
        sizes: sizes of the twin's layers.
        folder: folder of its `config.json` and tokenizer.

    Raises:
        HfpruneError: see `check_supported`, which fails before weights are written.
    """
    architecture = architecture_of(model, sizes)
    writer = gguf.GGUFWriter(file, architecture)
    _add_shape(writer, twin.config, sizes)
    _add_vocabulary(writer, folder, twin.config.vocab_size)
    matrices, kind = _KINDS[twin.dtype]
    writer.add_file_type(kind)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, tensor in _tensors(twin, architecture, _head_dim(twin.config)):
        _add(writer, name, tensor, matrices if tensor.dim() > 1 else GGMLQuantizationType.F32)
    factors = _rope_factors(model)
    if not torch.allclose(factors, torch.ones_like(factors)):
        _add(writer, "rope_freqs.weight", factors, GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _slides(config: Any) -> bool:
    """Tell whether some layers see less than the longest text."""
    window = getattr(config, "sliding_window", None) or config.max_position_embeddings
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    return "sliding_attention" in kinds and window < config.max_position_embeddings


def _head_dim(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _add_shape(writer: gguf.GGUFWriter, config: Any, sizes: LayerSizes) -> None:
    def listed(name: str) -> list[int]:
        return [own.get(name, getattr(config, name)) for own in sizes.values()]

    dim = _head_dim(config)
    writer.add_block_count(len(sizes))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(listed("intermediate_size"))
    writer.add_head_count(listed("num_attention_heads"))
    writer.add_head_count_kv(listed("num_key_value_heads"))
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_rope_dimension_count(dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _tensors(twin: "PreTrainedModel", architecture: str, dim: int) -> Iterator[tuple[str, Tensor]]:
    """Yield llama.cpp's names and tensors; `dim` is the size of a head.

    Rotary positions pair the two halves of a head in transformers, but even and odd rows in `deci`. `openelm` has
    queries, keys and values in one matrix.
    """
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, len(twin.model.layers))
    tensors = {
        str(names.get_name(name, (".weight", ".bias"))): tensor for name, tensor in twin.state_dict().items()
    }
    if twin.config.tie_word_embeddings:
        del tensors["output.weight"]
    for name, tensor in tensors.items():
        layer, _, part = name.partition(".attn_")
        if architecture == "openelm" and part in ("q.weight", "k.weight", "v.weight"):
            if part == "q.weight":
                heads = [tensors[f"{layer}.attn_{projection}.weight"] for projection in "qkv"]
                yield f"{layer}.attn_qkv.weight", torch.cat(heads)
        elif part.startswith(("q.", "k.")):
            yield name, tensor.unflatten(0, (-1, 2, dim // 2)).transpose(1, 2).flatten(0, 2)
        else:
            yield name, tensor


def _add(writer: gguf.GGUFWriter, name: str, tensor: Tensor, kind: GGMLQuantizationType) -> None:
    dtypes = {quantisation: dtype for dtype, (quantisation, _) in _KINDS.items()}
    tensor = tensor.detach().to("cpu", dtypes[kind]).contiguous()
    data = tensor.view(torch.uint8) if kind is GGMLQuantizationType.BF16 else tensor
    writer.add_tensor(name, data.numpy(), raw_dtype=kind)


def _rope_factors(model: "PreTrainedModel") -> Tensor:
    """Return the factors by which a model's rotary frequencies are lower than those of its base alone."""
    base = model.config.rope_parameters["rope_theta"]
    frequencies = model.model.rotary_emb.inv_freq.double().cpu()
    plain = base ** -(torch.arange(len(frequencies), dtype=torch.float64) / len(frequencies))
    return plain / frequencies


def _add_vocabulary(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    """Add tokens, merges and special tokens, with the kinds that llama.cpp's converter gives them."""
    tokenizer = load_tokenizer(folder)
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    kinds = [gguf.TokenType.NORMAL if number in words else gguf.TokenType.UNUSED for number in range(size)]
    for number, token in added.items():
        kinds[number] = gguf.TokenType.CONTROL if token.special else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting(tokenizer))
    writer.add_token_list([words.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types(kinds)
    gguf.SpecialVocab(folder, load_merges=True, n_vocab=size).add_to_gguf(writer, quiet=True)


def _splitting(tokenizer: Any) -> str:
    """Return llama.cpp's name for the way in which a byte-level tokenizer splits text.

    Raises:
        HfpruneError: the tokenizer is of another kind, or splits text differently.
    """
    first = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    parts = first.get("pretokenizers", [first])
    steps = [part.get("type") for part in parts]
    if steps == ["Split", "ByteLevel"] and (name := _PATTERNS.get(parts[0]["pattern"].get("Regex"))):
        return name
    if steps == ["Digits", "ByteLevel"] and parts[0]["individual_digits"] and parts[1]["use_regex"]:
        return "smollm"
    if steps == ["ByteLevel"] and parts[0]["use_regex"]:
        return "gpt-2"
    raise HfpruneError(
        "--gguf: supports the tokenizers of LLaMA 3, Qwen, SmolLM and GPT-2, and this is another; "
        "export with --plain and take llama.cpp's converter (docs/exports.md)"
    )
