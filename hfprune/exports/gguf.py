"""A pruned model as a GGUF file for llama.cpp, with the widths that its layers really have."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gguf import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    RopeScalingType,
    get_tensor_name_map,
    quants,
)
from torch import Tensor

from hfprune.errors import HfpruneError
from hfprune.exports import Quantization
from hfprune.exports.architecture import ARCHITECTURES, NEIGHBOURS, layout, ropes
from hfprune.exports.card import Recipe
from hfprune.exports.folder import export_folder
from hfprune.exports.vocabulary import Vocabulary
from hfprune.exports.widths import Sizes, padded, sizes_on_disk
from hfprune.models.units import count_parameters
from hfprune.plans.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ATTENTION = re.compile(r"(model\.layers\.(\d+)\.self_attn)\.([qkv])_proj\.(weight|bias)")
_OF_DTYPE = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class Written:
    """A GGUF file, and what one may want to know about it."""

    file: Path
    parameters: int
    """With the zeros that pad layers."""
    wide: int
    """Matrices that stayed in 16 bits, because their rows are not whole blocks."""


def export_gguf(
    model: "PreTrainedModel",
    source: Path,
    out: Path,
    made: dict[str, Any] | None = None,
    *,
    quantize: Quantization | None = None,
    align: int = 1,
    plan: Path | Plan | None = None,
    results: Path | None = None,
) -> Written:
    """Write a pruned model and the tokenizer of `source` as one GGUF file in a folder, with a model card.

    Args:
        model: the pruned model.
        source: folder of the dense model.
        out: folder to write; the file in it is named after it.
        made: from `hfprune.provenance.provenance`; the card of a model that was pruned in memory takes `settings`.
        quantize: type of the matrices; by default the dtype of the model. Vectors are float32. A matrix whose rows
            are not whole blocks of 32 stays in 16 bits.
        align: round each width up to a multiple of this by neurons of zero weight.
        plan: the plan that made the model, or its file, to be kept beside it; by default the one that was applied.
        results: folder of the model's results, for the card.

    Raises:
        HfpruneError: the architecture, its rope scaling or its vocabulary is not supported, or `out` or `results`
            are refused as by `export`.
    """
    recipe = Recipe.of(model, source, made, plan, results)
    architecture, widths = layout(model, align)
    vocabulary = Vocabulary(source, model.config.vocab_size)
    kind = GGMLQuantizationType[quantize or _OF_DTYPE[model.dtype]]
    padding = sizes_on_disk(model, widths)
    meta = {name: parameter.to("meta") for name, parameter in model.named_parameters()}
    left, extra = (
        count_parameters(model),
        sum(padded(*x, padding).numel() - x[1].numel() for x in meta.items()),
    )
    sizes = {"parameters": left, "parameters_on_disk": left + extra}
    name = f"{out.resolve().name}-{kind.name}.gguf"
    with export_folder(out, source) as (folder, about):
        writer = GGUFWriter(folder / name, MODEL_ARCH_NAMES[architecture])
        writer.add_name(out.resolve().name)
        if licence := recipe.licence.get("license"):
            writer.add_license(licence)
        _add_shape(writer, model, widths)
        _add_rope(writer, model)
        vocabulary.add(writer)
        wide = _write(writer, kind, lambda: _tensors(model, architecture, padding))
        about |= recipe.made | sizes
        recipe.write(folder, "gguf", sizes, name, _notes(architecture, widths, wide))
    return Written(out / name, left + extra, wide)


def require_gguf(model: "PreTrainedModel", source: Path) -> None:
    """Fail where `export_gguf` would, before a model is pruned.

    Args:
        model: the dense model, without weights if you like.
        source: its folder.

    Raises:
        HfpruneError: the architecture, its rope scaling or the vocabulary is not supported.
    """
    layout(model, 1)
    Vocabulary(source, model.config.vocab_size)


def _add_shape(writer: GGUFWriter, model: "PreTrainedModel", widths: list[int]) -> None:
    config = model.config
    head = model.model.layers[0].self_attn.head_dim
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "gemma3_text":
        writer.add_context_length(config.max_position_embeddings)
        if any(slides := [kind == "sliding_attention" for kind in config.layer_types]):
            writer.add_sliding_window(config.sliding_window)
            writer.add_sliding_window_pattern(slides)
        if cap := config.final_logit_softcapping:
            writer.add_final_logit_softcapping(cap)
    else:  # llama.cpp reads these architectures without a window
        window = getattr(config, "sliding_window", None)
        writer.add_context_length(min(filter(None, (config.max_position_embeddings, window))))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(widths))
    writer.add_feed_forward_length(widths if len(set(widths)) > 1 else widths[0])
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_rope(writer: GGUFWriter, model: "PreTrainedModel") -> None:
    rope, sliding = ropes(model)
    writer.add_rope_freq_base(rope["rope_theta"])
    if sliding:
        writer.add_rope_freq_base_swa(sliding["rope_theta"])
    if rope["rope_type"] == "linear":  # that of LLaMA 3 is a tensor of factors, see `_tensors`
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _tensors(
    model: "PreTrainedModel", architecture: MODEL_ARCH, sizes: Sizes
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors under llama.cpp's names; tied embeddings come once."""
    config = model.config
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    names = get_tensor_name_map(ARCHITECTURES[config.model_type], len(sizes))
    head = model.model.layers[0].self_attn.head_dim
    if config.rope_parameters.get("rope_type") == "llama3":
        plain = config.rope_parameters["rope_theta"] ** -(torch.arange(0, head, 2) / head)
        yield "rope_freqs.weight", plain / model.model.rotary_emb.inv_freq.cpu()
    for name, tensor in parameters.items():
        tensor = padded(name, tensor.detach(), sizes)
        if config.model_type == "gemma3_text" and name.endswith("norm.weight"):
            tensor = tensor.float() + 1  # as the norms multiply; no 16 bits hold it
        module, layer, part, kind = found.groups() if (found := _ATTENTION.fullmatch(name)) else [""] * 4
        if part and architecture is MODEL_ARCH.OPENELM:  # one matrix for all three
            if part == "q":
                three = [f"{module}.{each}_proj.{kind}" for each in "qkv"]
                parts = [padded(each, parameters[each].detach(), sizes) for each in three]
                yield f"blk.{layer}.attn_qkv.{kind}", torch.cat(parts)
            continue
        if part in ("q", "k") and architecture in NEIGHBOURS:
            tensor = tensor.unflatten(0, (-1, 2, head // 2)).transpose(1, 2).flatten(0, 2)
        if not (short := names.get_name(name, (".weight", ".bias"))):
            raise HfpruneError(
                f"GGUF export of {config.model_type} has no name for {name}; export safetensors"
            )
        yield short, tensor


def _write(
    writer: GGUFWriter, kind: GGMLQuantizationType, tensors: Callable[[], Iterator[tuple[str, Tensor]]]
) -> int:
    """Write the metadata that `writer` holds, then tensor after tensor; return how many stayed in 16 bits."""
    kinds = {}
    for name, tensor in tensors():
        kinds[name] = _kind(tensor, kind)
        block, size = GGML_QUANT_SIZES[kinds[name]]
        length = tensor.numel() // block * size
        writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), length, kinds[name])
    file_type = "ALL_F32" if kind is GGMLQuantizationType.F32 else f"MOSTLY_{kind.name}"
    writer.add_file_type(LlamaFileType[file_type])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, tensor in tensors():
            writer.write_tensor_data(quants.quantize(tensor.float().contiguous().cpu().numpy(), kinds[name]))
    finally:
        writer.close()
    return sum(found is not kind for found in kinds.values() if found is not GGMLQuantizationType.F32)


def _kind(tensor: Tensor, wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    if tensor.dim() == 1:
        return GGMLQuantizationType.F32
    return wanted if tensor.shape[-1] % GGML_QUANT_SIZES[wanted][0] == 0 else GGMLQuantizationType.F16


def _notes(architecture: MODEL_ARCH, widths: list[int], wide: int) -> str:
    name = MODEL_ARCH_NAMES[architecture]
    parts = []
    if len(set(widths)) > 1:
        parts.append(
            f"Its layers have from {min(widths)} to {max(widths)} neurons. The file states the architecture "
            f"`{name}`, for which llama.cpp reads a width for each layer, and which computes the same function."
        )
    if wide:
        parts.append(f"{wide} matrices stay in 16 bits, since their rows are not whole blocks.")
    return " ".join(parts)
