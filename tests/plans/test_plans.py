"""The budget of every kind of unit, and plans: made, saved, applied, exported."""

from pathlib import Path

import pytest
import torch
from conftest import build_tiny, generates_the_same_without_cache, reload
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from hfprune.errors import HfpruneError
from hfprune.exports.checkpoint import export
from hfprune.models.units import count_parameters
from hfprune.plans.allocation import keep_highest
from hfprune.plans.counts import kept_units, not_applicable, unit_sizes
from hfprune.plans.planning import apply_plan, load_plan, make_plan, plan_note, save_plan

# Shapes of the paper's models: (config class, vocabulary, hidden, intermediate, layers, heads, kv heads, tied).
PAPER = {
    "LLaMA-2-7B": (LlamaConfig, 32000, 4096, 11008, 32, 32, 32, False),
    "LLaMA3.2-1.2B": (LlamaConfig, 128256, 2048, 8192, 16, 32, 8, True),
    "LLaMA3.2-3.2B": (LlamaConfig, 128256, 3072, 8192, 28, 24, 8, True),
    "Qwen2.5-7B": (Qwen2Config, 152064, 3584, 18944, 28, 28, 4, False),
    "Qwen2.5-1.5B": (Qwen2Config, 151936, 1536, 8960, 28, 12, 2, True),
    "Qwen3-1.7B": (Qwen3Config, 151936, 2048, 6144, 28, 16, 8, True),
}
FIELDS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "tie_word_embeddings")  # fmt: skip
# Kept neurons per layer and billions of parameters at 20, 30 and 40 %, computed by hand from those shapes; and
# neurons and groups at 10, 20, 30 and 40 %, of the version before units had names.
EXPECTED = {
    "LLaMA-2-7B": ([(7581, 5.3909), (5867, 4.7169), (4153, 4.0429)],
                   [(9806, 29), (8775, 25), (7574, 22), (6372, 19)]),
    "LLaMA3.2-1.2B": ([(5678, 0.9887), (4421, 0.8651), (3163, 0.7414)],
                      [(7148, 7), (6104, 6), (5061, 5), (4017, 4)]),
    "LLaMA3.2-3.2B": ([(5702, 2.5702), (4457, 2.2489), (3212, 1.9277)],
                      [(7288, 7), (6385, 6), (5481, 5), (4577, 4)]),
    "Qwen2.5-7B": ([(13885, 6.0924), (11355, 5.3308), (8826, 4.5694)],
                   [(16414, 4), (14568, 3), (12038, 3), (10191, 2)]),
    "Qwen2.5-1.5B": ([(6567, 1.2349), (5371, 1.0806), (4174, 0.9261)],
                     [(7764, 2), (6567, 2), (5968, 1), (4772, 1)]),
    "Qwen3-1.7B": ([(4144, 1.3765), (3144, 1.2045), (2143, 1.0323)],
                   [(5400, 7), (4656, 6), (3912, 5), (3167, 4)]),
}  # fmt: skip
LAYERS, WIDTH = 3, 48


def skeleton(name: str):
    """Build a model of the paper's shape without weights."""
    kind, *shape = PAPER[name]
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(kind(**dict(zip(FIELDS, shape, strict=True))))


def random_scores(layers: int = LAYERS, width: int = WIDTH, groups: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    places = {f"mlp.{layer}": width for layer in range(layers)}
    places |= {f"attention.{layer}": groups for layer in range(layers) if groups}
    return {place: torch.rand(n, generator=generator) for place, n in (places | {"layers": layers}).items()}


def plan_of(*kept: torch.Tensor | list[int], place: str = "mlp") -> dict[str, torch.Tensor]:
    return {f"{place}.{layer}": torch.as_tensor(units).long() for layer, units in enumerate(kept)}


@pytest.mark.parametrize("name", PAPER)
def test_budgets_of_the_papers_models(name: str) -> None:
    model = skeleton(name)
    hidden, intermediate, layers = PAPER[name][2:5]
    total = count_parameters(model)
    for ratio, (width, billions) in zip((0.2, 0.3, 0.4), EXPECTED[name][0], strict=True):
        kept = kept_units(model, ratio)
        assert [*kept] == ["neurons"]
        assert abs(kept["neurons"] - width) <= 1, "to the rounding of one neuron"
        left = total - (intermediate - kept["neurons"]) * layers * 3 * hidden
        assert left / 1e9 == pytest.approx(billions, abs=2e-4)
        assert left / total == pytest.approx(1 - ratio, abs=1e-4)
    both = {"neurons": None, "key_value_groups": None}
    shared = [kept_units(model, ratio, both) for ratio in (0.1, 0.2, 0.3, 0.4)]
    assert [(kept["neurons"], kept["key_value_groups"]) for kept in shared] == EXPECTED[name][1]


def test_where_no_group_can_go_the_plan_says_so(tmp_path: Path) -> None:
    model, both = skeleton("Qwen2.5-1.5B"), {"neurons": None, "key_value_groups": None}
    note = not_applicable(model, 0.2, both)
    assert note == "keeps 2 of 2 key-value groups in every layer at 20 %"
    assert not_applicable(model, 0.4, both) == not_applicable(model, 0.2) == ""
    assert not_applicable(skeleton("LLaMA-2-7B"), 0.2, both) == ""
    shares = {"neurons": 0.97, "layers": 0.03}
    assert not_applicable(model, 0.2, shares) == "keeps 28 of 28 decoder layers at 20 %"
    assert not_applicable(build_tiny("llama"), 0.001) == "keeps 48 of 48 neurons in every layer at 0.1 %"
    path = tmp_path / "plan.safetensors"
    for said in (note, ""):
        save_plan(path, plan_of(torch.arange(3)), {"ratio": 0.2}, said)
        assert plan_note(path) == said
    path.write_text("text")
    with pytest.raises(HfpruneError, match=r"plan\.safetensors: not a plan"):
        plan_note(path)


@pytest.mark.parametrize("ratio", [-0.1, 0, 1, 0.95, float("nan")])
def test_unreachable_ratio_gives_the_largest_reachable(tiny, ratio: float) -> None:
    with pytest.raises(HfpruneError, match=r"choose one above 0 and at most 0\.\d{3}$") as failure:
        kept_units(tiny, ratio)
    largest = float(str(failure.value).split("at most ")[1])
    assert kept_units(tiny, largest - 0.001)["neurons"] >= 1
    with pytest.raises(HfpruneError):
        kept_units(tiny, largest + 0.05)


# --- layers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count"), [("layers", 3), ("key_value_groups", 4)])
def test_a_number_of_one_kind_without_neurons_is_the_nearest(kind: str, count: int) -> None:
    model, alone = build_tiny("qwen2", num_key_value_heads=4), {kind: None}
    _, parameters, places = unit_sizes(model, [kind])[kind]
    step = parameters * places / count_parameters(model)
    kept = [kept_units(model, part * step, alone)[kind] for part in (0.51, 1.49, 1.51, count - 0.51)]
    assert kept == [count - 1, count - 1, count - 2, 1]
    steps = f"choose one from {step:.3f} to {(count - 1) * step:.3f}, in steps of {step:.3f}"
    for part in (0.49, count - 0.49):
        with pytest.raises(HfpruneError, match=rf"pruning {kind} of \w+: {steps}"):
            kept_units(model, part * step, alone)
    with pytest.raises(HfpruneError, match="it has only one of them"):
        kept_units(build_tiny("qwen2", num_key_value_heads=1, num_hidden_layers=1), 0.1, alone)


def test_shares_of_the_removed_parameters_by_hand() -> None:
    """LLaMA-2-7B at 20 %: 1347.7 million go, 202.4 million with each layer, 4096 · 3 with each neuron."""
    model = skeleton("LLaMA-2-7B")
    total, layer = 6_738_415_616, 202_383_360
    assert unit_sizes(model, ["layers"])["layers"] == (32, layer, 1)
    kept = kept_units(model, 0.2, {"neurons": 0.7, "layers": 0.3})
    assert kept == {"layers": 30, "neurons": round(11008 - (0.2 * total - 2 * layer) / (30 * 3 * 4096))}
    # Equal fractions: f · 32 layers and f of the neurons of the others; f = 0.1348 by f·32·L + (1-f)·f·32·11008·N.
    kept = kept_units(model, 0.2, {"neurons": None, "layers": None})
    assert kept["layers"] == 28  # 32 · (1 - 0.1348) = 27.7
    assert kept["neurons"] == round(11008 - (0.2 * total - 4 * layer) / (28 * 3 * 4096))
    assert 0.09 < 1 - kept["neurons"] / 11008 < 0.15
    # Of 64.2 % MLP and 31.9 % attention, the fraction 0.2 / 0.961 of both goes: 25.3 groups stay.
    head = 4 * 128 * 4096
    kept = kept_units(model, 0.2, {"neurons": None, "key_value_groups": None})
    assert kept["key_value_groups"] == 25
    assert kept["neurons"] == round(11008 - (0.2 * total - 32 * 7 * head) / (32 * 3 * 4096))
    kept = kept_units(model, 0.2, {"neurons": 0.5, "layers": 0.3, "key_value_groups": 0.2})
    assert kept["layers"] == 30
    assert kept["key_value_groups"] == round(32 - 0.2 * 0.2 * total / (30 * head)) == 28
    rest = 0.2 * total - 2 * layer - 30 * 4 * head
    assert kept["neurons"] == round(11008 - rest / (30 * 3 * 4096))


@pytest.mark.parametrize(
    "units",
    [
        {"neurons": None},
        {"neurons": None, "layers": None},
        {"neurons": 0.4, "layers": 0.6},
        {"neurons": None, "key_value_groups": None, "layers": None},
        {"key_value_groups": 0.5, "neurons": 0.5},
    ],
)
@pytest.mark.parametrize("ratio", [0.2, 0.3])
@pytest.mark.parametrize("architecture", ["qwen2", "llama-bias", "phi3"])
def test_whatever_is_cut_the_total_is_met_to_half_a_neuron(
    architecture: str, units: dict, ratio: float
) -> None:
    """Ties and biases are counted right: what is left after slicing is what the budget said."""
    model = build_tiny(architecture, num_hidden_layers=6, num_key_value_heads=4)
    total, neuron = count_parameters(model), unit_sizes(model, ["neurons"])["neurons"].parameters
    plan = make_plan(model, random_scores(6, WIDTH, 4), ratio, units)
    apply_plan(model, plan)
    layers = len(plan.get("layers", range(6)))
    assert layers == len(model.model.layers) == model.config.num_hidden_layers
    assert abs(total - count_parameters(model) - ratio * total) <= layers * neuron / 2
    assert ("layers" in plan) == ("layers" in units)


def test_groups_fill_up_what_layers_leave_over() -> None:
    model, deep = build_tiny("qwen2", num_key_value_heads=4), {"key_value_groups": None, "layers": None}
    total, layer = count_parameters(model), count_parameters(model.model.layers[0])
    group = unit_sizes(model, ["key_value_groups"])["key_value_groups"].parameters
    for ratio in (0.1, 0.3, 0.6):
        layers, groups = (kept_units(model, ratio, deep)[kind] for kind in ("layers", "key_value_groups"))
        removed = (LAYERS - layers) * layer + layers * (4 - groups) * group
        assert abs(removed - ratio * total) <= layers * group / 2
    with pytest.raises(HfpruneError, match=r"choose one from 0\.\d+ to 0\.\d+$"):
        kept_units(model, 0.001, deep)


# --- plans -----------------------------------------------------------------------------------------------


def test_highest_scores_are_kept_and_ties_keep_the_first() -> None:
    assert keep_highest(torch.tensor([0.1, 3.0, 2.0, 5.0]), 2).tolist() == [1, 3]
    assert keep_highest(torch.tensor([1.0, 1.0, 2.0, 1.0]), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("count", "kept"), [(4, [0, 1, 2, 3]), (3, [1, 2, 3]), (2, [0, 3]), (1, [2])])
def test_scores_that_depend_on_the_number_removed_are_read_from_its_row(count: int, kept: list[int]) -> None:
    """Row m - 1 is for the removal of m units: the first unit goes alone, the middle ones as a pair."""
    rows = [[0.0, 1.0, 2.0, 3.0], [3.0, 0.0, 1.0, 2.0], [0.0, 2.0, 3.0, 1.0], [3.0, 2.0, 1.0, 0.0]]
    assert keep_highest(torch.tensor(rows), count).tolist() == kept


def test_kinds_that_are_scored_are_what_is_pruned_unless_said() -> None:
    model = build_tiny("qwen2")
    scores = random_scores(groups=2)
    del scores["layers"]
    assert [*make_plan(model, scores, 0.4)] == [*scores]
    assert [*make_plan(model, scores, 0.2, {"neurons": None})] == ["mlp.0", "mlp.1", "mlp.2"]
    assert [*make_plan(model, random_scores(), 0.2, {"layers": None})] == ["layers"]
    with pytest.raises(HfpruneError, match="layers has no scores, but Qwen2ForCausalLM has 3 layers there"):
        make_plan(model, scores, 0.2, {"neurons": None, "layers": None})
    for wrong in (random_scores(2), scores | {"mlp.2": torch.rand(47)}):
        with pytest.raises(HfpruneError, match=r"mlp\.2 has .*belong to another model"):
            make_plan(model, wrong, 0.2, {"neurons": None})


def test_depth_and_width_cut_together_load_plainly(tokens, tmp_path: Path, tokenizer: Path) -> None:
    """A model of two kinds of layers loses one layer, and neurons of the others; `from_pretrained` loads it."""
    kinds = ["full_attention", "sliding_attention"] * 2
    window = {"layer_types": kinds, "use_sliding_window": True, "sliding_window": 4}
    model = build_tiny("qwen2", num_hidden_layers=4, **window)
    scores = random_scores(4) | {"layers": torch.tensor([9.0, 0.0, 8.0, 7.0])}
    plan = make_plan(model, scores, 0.3, {"neurons": None, "layers": None})
    assert plan["layers"].tolist() == [0, 2, 3]
    assert [*plan] == ["layers", "mlp.0", "mlp.2", "mlp.3"]
    assert len(plan["mlp.0"]) == len(plan["mlp.3"]) < WIDTH
    model.double()
    apply_plan(model, plan)
    export(model, tokenizer, tmp_path / "out")
    loaded = reload(tmp_path / "out")
    assert (loaded.config.num_hidden_layers, loaded.config.layer_types) == (3, [kinds[0], *kinds[2:]])
    assert loaded.config.intermediate_size == len(plan["mlp.0"])
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)
    # With the cache, which knows layers by their number.
    assert generates_the_same_without_cache(loaded, model, tokens)


def test_plan_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    plan = {"layers": torch.tensor([0, 11])} | {
        f"{place}.{layer}": torch.tensor([0, 5, 9]) for place in ("attention", "mlp") for layer in (0, 11)
    }
    save_plan(path, plan, {})
    loaded = load_plan(path)
    assert loaded.keys() == plan.keys()
    assert all(torch.equal(loaded[name], kept) for name, kept in plan.items())
    assert {kept.dtype for kept in load_file(path).values()} == {torch.int32}


FIVE, TWO, NONE = torch.arange(5), torch.arange(2), torch.tensor([], dtype=torch.int64)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({}, "keeps nothing"),
        (plan_of(FIVE, FIVE), r"lacks mlp\.2, but LlamaForCausalLM has 3 layers"),
        (plan_of(FIVE, FIVE, FIVE, FIVE), r"has mlp\.3, but LlamaForCausalLM has 3 layers"),
        (plan_of(FIVE, FIVE, torch.tensor([3, 48])), r"mlp\.2 of the plan must hold .* below 48"),
        (plan_of(FIVE, FIVE, torch.tensor([3, 3])), r"mlp\.2 of the plan must hold sorted, distinct"),
        (plan_of(FIVE, FIVE, NONE), r"mlp\.2 of the plan .* at least one"),
        ({"layers": torch.tensor([1, 3])}, "layers of the plan must hold .* below 3"),
        ({"layers": TWO} | plan_of(FIVE, FIVE, FIVE), r"has mlp\.2, but keeps 2 of 3 layers"),
        ({"layers": torch.tensor([0, 2])} | plan_of(FIVE), r"lacks mlp\.2, but keeps 2 of 3 layers"),
        (plan_of(FIVE, FIVE, FIVE) | {"heads.0": FIVE}, "'heads.0' names no units"),
        (
            plan_of([0, 2], [0, 1], [0, 1], place="attention"),
            r"attention\.0 of the plan must hold .* below 2",
        ),
    ],
)
def test_wrong_plan_is_refused_and_the_model_left_alone(plan, message: str, tokens) -> None:
    model = build_tiny("llama")
    before = model(tokens).logits
    with pytest.raises(HfpruneError, match=message):
        apply_plan(model, plan)
    assert torch.equal(model(tokens).logits, before)
    assert model.config.num_hidden_layers == LAYERS
