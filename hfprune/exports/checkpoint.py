"""A pruned model as a checkpoint that plain `from_pretrained` of transformers 4 and 5 loads."""

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hfprune.errors import HfpruneError
from hfprune.exports.card import Recipe
from hfprune.exports.compatible import copy_tokenizer, spell_twice
from hfprune.exports.folder import export_folder
from hfprune.exports.widths import aligned_widths, padded, sizes_on_disk
from hfprune.models.fused import joined
from hfprune.models.units import count_parameters
from hfprune.plans.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def export(
    model: "PreTrainedModel",
    source: Path,
    out: Path,
    made: dict[str, Any] | None = None,
    *,
    align: int = 1,
    plan: Path | Plan | None = None,
    results: Path | None = None,
) -> int:
    """Write a pruned model and the tokenizer of `source` as a checkpoint that plain `from_pretrained` loads.

    All layers get the width of the widest, rounded up to a multiple of `align`, and the heads of the largest, by
    zero weights: more on disk, and the same function. `README.md` is a model card, `provenance.json` holds both
    parameter counts, `made`, and the size of every file.

    Args:
        model: the pruned model.
        source: folder of the dense model.
        out: folder to write.
        made: from `hfprune.provenance.provenance`; the card of a model that was pruned in memory takes `settings`.
        align: e.g. 256, for quantisers that need whole blocks in a row.
        plan: the plan that made the model, or its file, to be kept beside it; by default the one that was applied.
        results: folder of the model's results, for the card.

    Returns:
        The number of parameters in the checkpoint.

    Raises:
        HfpruneError: no config can describe the model, `out` holds something other than an earlier export, or the
            results are of another model.
    """
    recipe = Recipe.of(model, source, made, plan, results)
    with export_folder(out, source) as (folder, about):
        written = loadable(model, align)
        sizes = {"parameters": count_parameters(model), "parameters_on_disk": count_parameters(written)}
        about |= recipe.made | sizes
        written.save_pretrained(folder)
        spell_twice(folder / "config.json")
        copy_tokenizer(source, folder)
        recipe.write(folder, "safetensors", sizes)
    return sizes["parameters_on_disk"]


def loadable(model: "PreTrainedModel", align: int = 1) -> "PreTrainedModel":
    """Return the model, or an equivalent one whose checkpoint `from_pretrained` loads.

    A config has one MLP width and one number of heads, so smaller layers get zero weights. transformers refuses
    a LLaMA config whose number of heads does not divide the hidden size, whatever its `head_dim`; such a model
    becomes a Mistral without sliding window, which computes the same. Weights are shared where possible; buffers
    that no checkpoint holds stay on the meta device.

    Raises:
        HfpruneError: no config of transformers describes the model.
    """
    widths = aligned_widths(model, align, equal=True)
    odd = model.config.model_type == "llama" and model.config.hidden_size % model.config.num_attention_heads
    kind, config = _mistral(model.config) if odd else (type(model), deepcopy(model.config))
    config.intermediate_size = widths[0]
    with torch.device("meta"):
        twin = kind(config)
    sizes = sizes_on_disk(model, widths)
    state = {name: padded(name, tensor, sizes) for name, tensor in model.state_dict().items()}
    if extra := [name for name in state if name.endswith(".bias") and name not in twin.state_dict()]:
        raise HfpruneError(
            f"cannot export: transformers' {type(twin).__name__} has no {extra[0]}, solved for the plan; "
            "measure with --plan and --linear, or solve without the bias"
        )
    twin.load_state_dict(joined(state, twin.state_dict()), assign=True)
    twin.tie_weights()
    twin.generation_config = model.generation_config
    return twin


def _mistral(llama: Any) -> tuple[type["PreTrainedModel"], Any]:
    from transformers import MistralConfig, MistralForCausalLM

    if llama.attention_bias or llama.mlp_bias:
        raise HfpruneError(
            f"cannot export: transformers refuses a LLaMA of {llama.num_attention_heads} heads at hidden size "
            f"{llama.hidden_size}, and a Mistral, which could replace it, has no biases; "
            "measure with --plan, or choose a ratio that leaves another number of heads"
        )
    ours = llama.to_dict()
    shared = MistralConfig().to_dict().keys() & ours.keys() - {"model_type", "architectures"}
    return MistralForCausalLM, MistralConfig(sliding_window=None, **{key: ours[key] for key in shared})
