"""Compact exports in vLLM: its own models of five families, whose layers take their sizes from `per_layer_config`.

The entry point `vllm.general_plugins` calls `register` in each of vLLM's processes. Models are imported on first
use, as vLLM asks, since that may start CUDA. Written for vLLM 0.32.
"""

from contextlib import suppress
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import Any

# The module of each model in vLLM, and the class of its layers, which `MistralForCausalLM` has from LLaMA's.
_LAYERS = {
    "LlamaForCausalLM": ("llama", "LlamaDecoderLayer"),
    "MistralForCausalLM": ("mistral", "LlamaDecoderLayer"),
    "Qwen2ForCausalLM": ("qwen2", "Qwen2DecoderLayer"),
    "Qwen3ForCausalLM": ("qwen3", "Qwen3DecoderLayer"),
    "Gemma3ForCausalLM": ("gemma3", "Gemma3DecoderLayer"),
}


def register() -> None:
    """Let vLLM take its models of these families from this module; models of equal layers stay as they are."""
    from vllm import ModelRegistry

    for name in _LAYERS:
        ModelRegistry.register_model(name, f"{__name__}:{name}")
    # An error here would end vLLM with any model; without this check it fails later and says less.
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
        ValueError: it cannot; says of which layer.
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
    """Tell whether layers have sizes of their own, which transformers reads since 5.14."""
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
    """Return the constructor of a layer that gets the layer's own config."""
    from vllm.model_executor.models.utils import extract_layer_index

    arguments = signature(build)

    @wraps(build)
    def build_own(self: Any, *given: Any, **named: Any) -> None:
        bound = arguments.bind(self, *given, **named)
        bound.apply_defaults()
        at, config = bound.arguments["prefix"], bound.arguments["config"]
        config = config or bound.arguments["vllm_config"].model_config.hf_config
        if _unequal(config):
            bound.arguments["config"] = config = config.per_layer_config[extract_layer_index(at)]
        build(*bound.args, **bound.kwargs)
        wanted, built = getattr(config, "head_dim", None), self.self_attn.head_dim
        if wanted and wanted != built:
            raise ValueError(
                f"{at}: vLLM builds heads of size {built} for the model's {wanted}: prune neurons alone"
            )

    return build_own
