"""Tiny models of all families, to be cut to any widths."""

from collections.abc import Sequence

import torch
from conftest import SHAPE, peaked
from transformers import AutoConfig, PreTrainedModel

from hfprune.models.fused import separate
from hfprune.models.units import units_of
from hfprune.plans.planning import Plan, apply_plan, make_plan
from hfprune.settings.allocation import Allocation

TEXT = "In 1984 the valley's old town had 12345 houses,\n\n  and a MARKET; she'd say \u00e9t\u00e9!"
WIDTHS = {"equal": [24, 24, 24], "unequal": [40, 17, 24]}
# Scaled so much that a reader who misses it, or takes another base, is wrong at once.
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
BY_LAYER = {
    "full_attention": {"rope_type": "linear", "rope_theta": 50000.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
FAMILIES = {
    "llama3": {"model_type": "llama", "rope_parameters": SCALED, "tie_word_embeddings": True},
    "mistral": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16, "tie_word_embeddings": True},
    "phi3": {"pad_token_id": 0, "sliding_window": 8},
    "gemma3": {
        "model_type": "gemma3_text",
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "layer_types": KINDS,
        "sliding_window": 8,
        "rope_parameters": BY_LAYER,
    },
}
# With the others that are supported; caps and scales change the logits visibly.
EVERY = FAMILIES | {
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 1.5},
    "granite": {"logits_scaling": 3.0, "residual_multiplier": 0.5},
    # Which layers have rotary positions is a list in the config too.
    "smollm3": {"no_rope_layers": [1, 0, 0], "pad_token_id": 0},
    "glm4": {"head_dim": 8, "attention_bias": True, "pad_token_id": 0},
    "cohere": {"logit_scale": 0.25},
}


def build(family: str, **changes: object) -> PreTrainedModel:
    """Build a tiny model of a family; biases and norms are random too, so that each of them matters.

    `changes` are of its config.
    """
    given = {"model_type": family, "vocab_size": 410, "bos_token_id": 0, "eos_token_id": 1} | EVERY[family]
    model = peaked(AutoConfig.for_model(**SHAPE | given | changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand_like(parameter))
    separate(model)
    return model


def cut(model: PreTrainedModel, widths: list[int], groups: Sequence[int] = ()) -> PreTrainedModel:
    plan = {f"mlp.{layer}": torch.arange(width) for layer, width in enumerate(widths)}
    apply_plan(model, plan | {f"attention.{layer}": torch.arange(n) for layer, n in enumerate(groups)})
    return model


# Rules and kinds of units of every kind of plan.
PLANS = {
    "equal widths": ("uniform", ["neurons"]),
    "unequal widths": ("global", ["neurons"]),
    "groups": ("uniform", ["neurons", "key_value_groups"]),
    "fewer layers": ("uniform", ["neurons", "layers"]),
    "layers": ("uniform", ["layers"]),
}


def random_plan(model: PreTrainedModel, kind: str) -> Plan:
    """Make a plan of random scores, of which groups need a high ratio: a tiny model has two."""
    (rule, kinds), ratio = PLANS[kind], 0.4 if kind == "groups" else 0.25
    generator = torch.Generator().manual_seed(1)
    scores = {at: torch.rand(unit.count, generator=generator) for at, unit in units_of(model, kinds).items()}
    return make_plan(model, scores, ratio, dict.fromkeys(kinds), Allocation(rule=rule))
