"""Compact exports in vLLM: its own models of five families, with layer sizes from `per_layer_config`.

The entry point `vllm.general_plugins` calls `register` in each of vLLM's processes. Models are imported on first
use, as vLLM asks, since that may start CUDA. Written for vLLM 0.32.
"""

from contextlib import suppress
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import Any

# Model → its module in vLLM and the class of its layers; Mistral uses LLaMA's.
_LAYERS = {
    "LlamaForCausalLM": ("llama", "LlamaDecoderLayer"),
    "MistralForCausalLM": ("mistral", "LlamaDecoderLayer"),
    "Qwen2ForCausalLM": ("qwen2", "Qwen2DecoderLayer"),
    "Qwen3ForCausalLM": ("qwen3", "Qwen3DecoderLayer"),
    "Gemma3ForCausalLM": ("gemma3", "Gemma3DecoderLayer"),
}


def register() -> None:
    """Make vLLM take its models of these families from this module; models with equal layers do not change."""
    from vllm import ModelRegistry

    for name in _LAYERS:
        ModelRegistry.register_model(name, f"{__name__}:{name}")
    # An error here would end vLLM for any model; without this check it fails later and less clearly.
    with suppress(ImportError):
        _check_tensor_parallelism()


def _check_tensor_parallelism() -> None:
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig

    class Divisible(VerifyAndUpdateConfig):
        @staticmethod
        def verify_and_update_config(vllm_config: Any) -> None:
            ways = vllm_config.parallel_config.tensor_parallel_size
            require_divisible(vllm_config.model_config.hf_text_config, ways)

    for name in _LAYERS:
        MODELS_CONFIG_MAP.setdefault(name, Divisible)


def require_divisible(config: Any, ways: int) -> None:
    """Check that tensor parallelism can split every layer, before vLLM starts its workers.

    Raises:
        ValueError: a layer cannot be split; names the layer and the remedy.
    """
    for number, own in enumerate(config.per_layer_config if _unequal(config) else [config]):
        heads, groups = own.num_attention_heads, own.num_key_value_heads
        if own.intermediate_size % ways:
            raise ValueError(
                f"layer {number} has {own.intermediate_size} neurons, which the tensor parallel size {ways} does "
                f"not divide: export the plan again by `hfprune export --align {ways}`"
            )
        if heads % ways or max(groups, ways) % min(groups, ways):
            raise ValueError(
                f"layer {number} has {heads} heads in {groups} groups, which the tensor parallel size {ways} does "
                "not divide: take another size, or `hfprune export --plain`"
            )


def _unequal(config: Any) -> bool:
    """Tell whether layers differ in size, as transformers reads since 5.14."""
    return getattr(config, "is_heterogeneous", False)


def __getattr__(name: str) -> Any:
    if name not in _LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    family, layer = _LAYERS[name]
    module = import_module(f"vllm.model_executor.models.{family}")
    kind = getattr(module, layer)
    if not hasattr(kind.__init__, "__wrapped__"):
        kind.__init__ = _by_own_config(kind.__init__)
    return getattr(module, name)


def _by_own_config(build: Any) -> Any:
    """Return the constructor of a layer, changed to take the layer's own config."""
    from vllm.model_executor.models.utils import extract_layer_index

    arguments = signature(build)

    @wraps(build)
    def build_own(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = arguments.bind(self, *args, **kwargs)
        bound.apply_defaults()
        prefix, config = bound.arguments["prefix"], bound.arguments["config"]
        config = config or bound.arguments["vllm_config"].model_config.hf_config
        if _unequal(config):
            bound.arguments["config"] = config = config.per_layer_config[extract_layer_index(prefix)]
        build(*bound.args, **bound.kwargs)
        wanted, built = getattr(config, "head_dim", None), self.self_attn.head_dim
        if wanted and wanted != built:
            raise ValueError(
                f"{prefix}: vLLM builds heads of size {built} for the model's {wanted}: prune neurons alone"
            )

    return build_own
