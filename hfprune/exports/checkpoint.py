"""A pruned model as a folder of safetensors that transformers 4 and 5 load."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hfprune.assets.models import LICENCES, TOKENIZER_FILES
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.exports.card import PLAN, reordered, save_card
from hfprune.exports.export_folder import CARD, PROVENANCE, export_folder
from hfprune.files import read_json, write_json
from hfprune.models.checks import agree
from hfprune.models.fused import joined, separate
from hfprune.models.load import load_tokenizer, read_folder
from hfprune.models.on_disk import is_on_disk, moved
from hfprune.models.shape import LayerSizes
from hfprune.models.sizes import describe, largest, layer_sizes, own_config, resize
from hfprune.models.units import count_parameters
from hfprune.plans.planning import save_plan
from hfprune.runs import Provenance

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hfprune.comparison.before_after import BeforeAfter

NO_CONFIG = (
    f"cannot export: transformers does not build this {{}} from a config ({REASON}); measure with --plan"
)
# Most bytes of one file; the default of transformers 4.
SHARD = "5GB"
# Keys that transformers 5 writes, and that 4 would take for arguments of the tokenizer.
_ONLY_5 = ("backend", "is_local", "local_files_only")


def export(
    model: "PreTrainedModel",
    source: Path,
    out: Path,
    made: Provenance | None = None,
    *,
    align: int = 1,
    plain: bool = False,
    gguf: bool = False,
    plan: Path | None = None,
) -> int:
    """Write a pruned model and the tokenizer of `source` as a folder of safetensors.

    If all layers have the same width, `from_pretrained` loads the folder. If they differ, the folder is compact:
    `config.json` has the sizes of every layer, and `hfprune.load` or the function in the model card loads it. With
    `plain`, layers are padded by zero weights instead: more bytes, the same function, and `from_pretrained` loads
    it. `README.md` is the model card; `provenance.json` holds both parameter counts, `made`, and the size of every
    file.

    Args:
        model: the pruned model.
        source: folder of the dense model.
        out: folder to write.
        made: provenance of the model; the card of a model that was pruned in memory lists its `settings`.
        align: pad widths with zero weights to a multiple of this, e.g. 256, for quantisers that need rows of whole
            blocks.
        plain: pad all layers to the largest width and number of heads, for programs that need equal layers.
        gguf: write `model.gguf` for llama.cpp, too.
        plan: file of the model's plan, to be kept beside it; by default the plan that was applied.

    Returns:
        The number of parameters in the files.

    Raises:
        HfpruneError: no config can describe the model, or `out` holds anything but an earlier export.
    """
    made = made or {}
    with export_folder(out, source) as (folder, about):
        sizes = _sizes(model, align, plain)
        if gguf:
            from hfprune.exports.gguf_file import check_supported, save_gguf

            check_supported(model, sizes, source)
        twin = _loadable(model, sizes)
        written = count_parameters(twin)
        about |= made | {"parameters": count_parameters(model), "parameters_on_disk": written}
        twin.save_pretrained(folder, max_shard_size=SHARD)
        spell_twice(folder / "config.json")
        list_sizes(folder / "config.json", sizes)
        _check_config(folder, type(twin).__name__, model)
        copy_files(source, folder)
        if gguf:
            save_gguf(folder / "model.gguf", model, twin, sizes, folder)
        applied = vars(model).get("kept_units")
        if plan or applied:
            (folder / PLAN).parent.mkdir()
        if plan:
            shutil.copyfile(plan, folder / PLAN)
        elif applied:
            save_plan(folder / PLAN, applied, made)
        save_card(folder, source, about)
        for line in reordered(folder, source):
            print(f"{out}: {line}", file=sys.stderr)
    return written


def write_card(out: Path, source: Path, comparison: "BeforeAfter") -> None:
    """Rewrite the card of an export of the dense model in `source`; all other files stay."""
    earlier = read_json(out / PROVENANCE)
    with export_folder(out, source) as (folder, about):
        replaced = shutil.ignore_patterns(PROVENANCE, CARD)
        shutil.copytree(out, folder, ignore=replaced, copy_function=_link, dirs_exist_ok=True)
        about |= earlier
        save_card(folder, source, about, comparison)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # where the disk has no links
        shutil.copy2(source, target)


def _sizes(model: "PreTrainedModel", align: int, plain: bool) -> LayerSizes:
    """Return the sizes of an export's layers: widths are multiples of `align`; with `plain`, all are equal."""
    sizes = layer_sizes(model)
    for own in sizes.values():
        own["intermediate_size"] += -own["intermediate_size"] % align
    return dict.fromkeys(sizes, largest(sizes)) if plain else sizes


def _loadable(model: "PreTrainedModel", sizes: LayerSizes) -> "PreTrainedModel":
    """Return an equivalent model whose layers have these sizes, with the weights and the config of an export.

    Larger layers get neurons and heads of zero weight, which change no output. transformers refuses a LLaMA config
    whose number of heads does not divide the hidden size, whatever its `head_dim`; such a model becomes a Mistral
    without a sliding window, which computes the same. Weights are shared where possible; buffers that are in no
    checkpoint stay on the meta device. The config has one number for all layers: see `list_sizes`.

    Raises:
        HfpruneError: no config of transformers describes the model.
    """
    config = deepcopy(model.config)
    describe(config, sizes, own=False)
    odd = config.model_type == "llama" and config.hidden_size % config.num_attention_heads
    kind, config = _mistral(config) if odd else (type(model), config)
    with explained(NO_CONFIG.format(kind.__name__), Exception, most=300), torch.device("meta"):
        twin, parts = kind(config), kind(config)
    separate(parts)
    resize(parts, sizes)
    shapes = {name: tensor.shape for name, tensor in parts.state_dict().items()}
    state = model.state_dict()
    if extra := [name for name in state if name not in shapes]:
        raise HfpruneError(
            f"cannot export: transformers' {type(twin).__name__} has no {extra[0]}, solved for the plan; "
            "measure with --plan and --linear, or solve without the bias"
        )
    own = moved if is_on_disk(model) else nn.Identity()
    for name, tensor in state.items():
        if tensor.shape != shapes[name]:
            state[name] = own(_padded(tensor, shapes[name]))
    for name, tensor in joined(state, twin.state_dict()):
        owner, _, last = name.rpartition(".")
        weight = tensor if name in state else own(tensor)
        setattr(twin.get_submodule(owner), last, nn.Parameter(weight, requires_grad=False))
    twin.tie_weights()
    twin.generation_config = model.generation_config
    return twin


@torch.no_grad()
def _check_config(folder: Path, kind: str, model: "PreTrainedModel") -> None:
    """Check that transformers, and for a compact export the function in its card, reads a folder as the model.

    A layer may depend on its number or on the number of layers, and a shape may not follow from the config.
    """
    tokens = torch.arange(8).unsqueeze(0)
    expected = model(input_ids=tokens.to(model.device)).logits.cpu()
    with explained(NO_CONFIG.format(kind), Exception, most=300):
        reloaded, _ = read_folder(folder, local_files_only=True, dtype=model.dtype)
        if not agree(reloaded.eval()(input_ids=tokens).logits, expected):
            raise ValueError("it gives other logits")


def _padded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a weight padded with zeros to a shape: zero neurons give act(0) · 0 = 0, and zero heads give 0."""
    missing = [wanted - length for wanted, length in zip(shape, tensor.shape, strict=True)]
    # `pad` takes the last dimension first.
    return pad(tensor, [end for more in reversed(missing) for end in (0, more)])


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


def list_sizes(config: Path, sizes: LayerSizes) -> None:
    """Add to a `config.json` how layers differ, in the form that transformers 5.14 and later read.

    Version 5.24 builds Gemma 4 and a few other models from it, but all layers of a LLaMA, a Qwen or a Gemma 3 with
    one width. So its `from_pretrained` raises `AmbiguousGlobalPerLayerAttributeError` or, if the number of heads
    may be read, finds weights that do not fit.
    """
    differing = own_config(sizes)
    if listed := differing.get("per_layer_config"):
        digits = len(str(max(listed)))  # equal digits keep the order in the file
        differing["per_layer_config"] = {f"{number:0{digits}}": own for number, own in listed.items()}
        write_json(config, read_json(config) | differing)


def spell_twice(config: Path) -> None:
    """Add transformers 4's spelling of rope settings and dtype to a `config.json` of transformers 5.

    Version 4 does not read `rope_parameters`; without `rope_theta` and `rope_scaling` it uses its defaults and
    gives wrong logits. Version 5 prefers its own spelling if both are there.
    """
    fields, rope = read_json(config), _rope_read(config.parent)
    if "dtype" in fields:
        fields["torch_dtype"] = fields["dtype"]
    write_json(config, fields | _rope_of_4(fields.get("rope_parameters") or {}))
    with suppress(Exception):  # types that only version 5 knows may fail at the other spelling
        if _rope_read(config.parent) == rope:
            return
    write_json(config, fields)


def _rope_read(folder: Path) -> Any:
    from transformers import AutoConfig

    return getattr(AutoConfig.from_pretrained(folder, local_files_only=True), "rope_parameters", None)


def _rope_of_4(rope: Mapping[str, Any]) -> dict[str, object]:
    if "full_attention" in rope:  # one setting for each type of layer, as in Gemma 3
        local = rope.get("sliding_attention") or {}
        shared = _rope_of_4(rope["full_attention"])
        return shared | ({"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {})
    alone = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    scaling = {key: value for key, value in rope.items() if key not in alone}
    return alone | ({"rope_scaling": scaling} if scaling.get("rope_type", "default") != "default" else {})


def copy_files(source: Path, folder: Path) -> None:
    """Copy the tokenizer and licence of a model folder, and make the tokenizer readable by transformers 4.

    Raises:
        HfpruneError: the tokenizer of `source` does not load.
    """
    load_tokenizer(source)
    for pattern in (*TOKENIZER_FILES, *LICENCES):
        for path in source.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return
    settings = before = read_json(path)
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings = {key: value for key, value in settings.items() if key not in _ONLY_5}
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    if isinstance(settings.get("extra_special_tokens"), list):
        settings = settings | {"additional_special_tokens": settings["extra_special_tokens"]}
        del settings["extra_special_tokens"]
    if settings != before:
        write_json(path, settings)
