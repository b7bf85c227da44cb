"""What becomes of each type of causal language model in transformers, built tiny and random.

`python tests/architectures.py` writes it into `hfprune/models/architectures.yaml`, and names what is a traceback.
"""

import dataclasses
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from conftest import peaked, reload
from house import ROOT
from smoke import build_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError, brief
from hfprune.exports.checkpoint import export
from hfprune.files import read_json
from hfprune.models.load import load_model
from hfprune.models.shape import Shape
from hfprune.models.units import count_parameters, units_of
from hfprune.plans.mask import masked
from hfprune.plans.planning import apply_plan, make_plan
from hfprune.scoring.score import score

LIST = ROOT / "hfprune/models/architectures.yaml"
TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
KINDS = ("neurons", "key_value_groups", "layers")
# What configs call their sizes: of text, encoders, experts, latent and linear attention, state spaces, images.
SIZES: dict[str, Any] = {
    **{"vocab_size": 410, "vocab_size_per_layer_input": 410, "unpadded_vocab_size": 410},
    **{"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 64},
    **dict.fromkeys(("hidden_size", "d_model", "embedding_size"), 32),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim"), 48),
    **{"num_hidden_layers": 4, "num_blocks": 2, "encoder_layers": 2, "decoder_layers": 2},
    **dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), 4),
    **{"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8, "hidden_size_per_layer_input": 8},
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "moe_top_k", "top_k_experts"), 2),
    **dict.fromkeys(
        ("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16
    ),
    **dict.fromkeys(("ffn_hidden_size", "shared_intermediate_size", "shared_experts_intermediate_size"), 16),
    **{"n_group": 1, "topk_group": 1, "index_head_dim": 8, "index_n_heads": 2, "index_topk": 4},
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
    **{"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_num_heads": 4, "mamba_head_dim": 16, "mamba_d_ssm": 64},
    **{"mamba_d_state": 8, "mamba_n_groups": 1, "image_size": 16, "patch_size": 8},
}
# What some types ask for beside it, of what the config does not give by default; "..." leaves a size as it is.
CHANGES: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dots1": {"n_shared_experts": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "gemma3n_text": {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0]},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    **{name: {"num_key_value_heads": 4, "head_dim": ...} for name in ("minicpm3", "youtu")},
    "reformer": {"is_decoder": True},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}
MOST_PARAMETERS = 2e7
HEADER = """\
# Written by `python tests/architectures.py` with transformers {}: what becomes of each type of causal language
# model (`model_type` in a config.json), built tiny and random. By type, the kinds of unit that were scored, cut,
# exported and reloaded; by reason, those that are refused or could not be built.
"""


def config_of(kind: type[PretrainedConfig], **changes: Any) -> PretrainedConfig:
    """Return a tiny config of a class, and of the classes of its parts."""
    alias = getattr(kind, "attribute_map", {})
    known = {field.name for field in dataclasses.fields(kind)}
    given = {alias.get(name, name): size for name, size in SIZES.items()} | changes
    given = {name: size for name, size in given.items() if name in known and size is not ...}
    parts = [name for name in getattr(kind, "sub_configs", {}) if name not in given]
    whole = kind() if parts else None
    for name in parts:
        if isinstance(part := getattr(whole, name, None), PretrainedConfig):
            given[name] = config_of(type(part)).to_dict()
    return kind(**given)


def tiny(config: PretrainedConfig) -> PreTrainedModel:
    """Build a model with random weights, norms and biases."""
    with torch.device("meta"):
        if (size := AutoModelForCausalLM.from_config(config).num_parameters()) > MOST_PARAMETERS:
            raise ValueError(f"still has {size:,} parameters")
    model = peaked(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand_like(parameter))
    return model


def outcome(model_type: str, folder: Path) -> tuple[str, Any]:
    """Return what becomes of a type: `works` and the kinds of unit, or `refused` or `not built` and why."""
    try:
        config = config_of(CONFIG_MAPPING[model_type], **CHANGES.get(model_type, {}))
        tiny(config).save_pretrained(folder / "dense")
        # With its encoders, which a causal language model leaves out.
        config.save_pretrained(folder / "dense")
    except Exception as error:
        return "not built", brief(error.__cause__ or error)[:90]
    build_tokenizer().save_pretrained(folder / "dense")
    works, reasons = [], []
    for kind in KINDS:
        try:
            to_reload_and_back(folder / "dense", kind, folder / kind)
            works.append(kind)
        except HfpruneError as error:
            reasons.append(str(error).replace(f"{folder}/", ""))
    assert not any("\n" in reason for reason in reasons), "a line"
    return ("works", works) if "neurons" in works else ("refused", short(reasons[0]))


def short(reason: str) -> str:
    """Return a reason without the names of model and layer, so that types share it."""
    reason = reason.partition("; supported are")[0].partition(" (")[0]
    reason = re.sub(r"^\S*[A-Z]\S* | \w+For[A-Z]\w+", "", reason)
    return re.sub(r"layer \d+", "a layer", reason)


@torch.no_grad()
def to_reload_and_back(dense: Path, kind: str, out: Path) -> None:
    """Score, plan, cut, export and reload a model; all ways to the pruned model give the same logits."""
    model = load_model(dense)
    Shape.of_config(read_json(dense / "config.json"))  # of which `prune` foretells its cost
    units = units_of(model, [kind])
    tokens = torch.randint(0, 410, (6, 17), generator=torch.Generator().manual_seed(3))
    scores = score({"it": make_criterion("entropy", {}, units=[kind])}, model, tokens, [kind])["it"].scores
    if kind == "layers":
        scores["layers"][1] = -1  # so that a later one gets another number
    gone = sum((1 if kind == "layers" else unit.count // 2) * unit.parameters for unit in units.values())
    plan = make_plan(model, scores, gone / count_parameters(model), {kind: None})
    whole = model(tokens).logits
    with masked(model, plan):
        expected = model(tokens).logits
    apply_plan(model, plan)
    cut = model(tokens).logits
    assert (cut - whole).norm() > 0.01 * whole.norm(), "something went"
    torch.testing.assert_close(cut, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    export(model, dense, out)
    torch.testing.assert_close(reload(out)(tokens).logits, cut, rtol=0, atol=1e-5 * float(cut.abs().max()))


def written(outcomes: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """Return the outcomes by type as the list has them."""
    found: dict[str, Any] = {"works": {}, "refused": {}, "not built": {}}
    for model_type, (what, how) in outcomes.items():
        if what == "works":
            found[what][model_type] = how
        else:
            found[what].setdefault(how, []).append(model_type)
    return found


def main() -> None:
    """Write the list, or fail at the first type that neither works nor is refused."""
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    outcomes = {}
    for model_type in TYPES:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[model_type] = outcome(model_type, Path(folder))
        print(f"{model_type}: {' '.join(map(str, outcomes[model_type]))}", flush=True)
    text = yaml.safe_dump(written(outcomes), sort_keys=False, default_flow_style=None, width=110)
    LIST.write_text(HEADER.format(transformers.__version__) + text)


if __name__ == "__main__":
    main()
