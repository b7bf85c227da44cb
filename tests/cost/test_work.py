"""The memory of scoring and training, beside what autograd really keeps."""

from dataclasses import replace
from weakref import WeakSet

import pandas as pd
import pytest
import torch
import yaml
from conftest import build_tiny
from smoke import ROOT

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.costs import Costs
from hfprune.cost.speed import seconds
from hfprune.cost.table import unfit
from hfprune.criteria import make_criterion
from hfprune.devices.table import known_devices
from hfprune.evaluation.work import Case, kept, trained
from hfprune.models.head import hidden_states
from hfprune.models.shape import Shape, known_shapes
from hfprune.models.units import units_of
from hfprune.recovery.lora import with_adapters
from hfprune.recovery.options import Lora
from hfprune.scoring.recorders import GradientRecorder
from hfprune.scoring.scorer import Scorer
from hfprune.settings import load, validate
from hfprune.study.places import Files
from hfprune.study.study import Study

SIZES = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 8}
TOKENS = torch.randint(0, 97, (2, 64), generator=torch.Generator().manual_seed(0))


class Saved:
    """A tensor that autograd keeps for as long as it keeps this."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def saved_by(work, model) -> int:
    """Return the bytes of all distinct storages that the graph of `work`'s result holds, weights excluded."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: WeakSet[Saved] = WeakSet()

    def pack(tensor: torch.Tensor) -> Saved:
        saved.add(found := Saved(tensor))
        return found

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        result = work()
    storages = {item.tensor.untyped_storage().data_ptr(): item.tensor.untyped_storage() for item in saved}
    assert result is not None  # its graph lives until here
    return sum(storage.nbytes() for address, storage in storages.items() if address not in weights)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_scoring_keeps_what_is_counted(architecture: str) -> None:
    model = build_tiny(architecture, **SIZES).to(torch.bfloat16)
    shape = Shape.of_config(model.config.to_dict())
    scorer = Scorer(make_criterion("entropy", {}), units_of(model, ["neurons"]))
    with GradientRecorder(model, [scorer], None).recording(), torch.enable_grad():
        found = saved_by(lambda: hidden_states(model, TOKENS), model)
    # The first layer's attention is outside the graph.
    expected = TOKENS.numel() * (shape.layers - 0.5) * kept(shape, 2)
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_training_keeps_what_is_counted(architecture: str) -> None:
    model = build_tiny(architecture, **SIZES).to(torch.bfloat16)
    shape = Shape.of_config(model.config.to_dict())
    adapted = with_adapters(model, Lora(rank=4, dropout=0.05), seed=0)
    adapted.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as the Trainer does
        found = saved_by(lambda: model.model(input_ids=TOKENS, use_cache=False), model)
    assert found == pytest.approx(TOKENS.numel() * shape.layers * trained(shape, 2, 4), rel=0.1)


def test_with_a_device_map_no_model_is_too_large() -> None:
    settings = yaml.safe_load((ROOT / "config/studies/paper-small.yaml").read_text())
    settings |= {"models": ["qwen2.5-7b"], "measures": {}}
    del settings["primary"]
    catalogue, small = (
        load(Catalogue, ROOT / "config/assets.yaml"),
        replace(known_devices()["rtx-4090"], memory=8e9),
    )
    whole, spread = (
        Costs(Files("s", validate(Study, settings | more, "s"), catalogue, {}), small)
        for more in ({}, {"device_map": "auto"})
    )
    assert "score_0 of qwen2.5-7b, " in unfit(whole) and "needs about" in unfit(whole)
    assert not unfit(spread)
    assert spread.largest.memory == 8e9
    assert max(cost.main_memory for cost in spread.each) > 15e9, "weights that are not on the GPU"


def test_sums_of_weight_forms_are_in_memory() -> None:
    """Both halves of the calibration, each as large as the MLPs' weights: 45.6 GB by Taylor on Qwen2.5-7B."""
    case = Case(known_shapes()["qwen2.5-7b"], "float32", on_gpu=False, room=200e9)
    by_row, by_weight = (
        case.score({"it": make_criterion("taylor", {"aggregation": form})}, 8, 512, ["neurons"]).memory
        for form in ("param_second", "param_first")
    )
    assert by_weight - by_row == pytest.approx(45.6e9, rel=1e-3)


def test_memory_that_runs_out_makes_batches_smaller() -> None:
    shape = known_shapes()["llama-2-7b"]
    entropy = {"it": make_criterion("entropy", {})}
    roomy, tight = (
        Case(shape, "bfloat16", True, room).score(entropy, 64, 1024, ["neurons"]) for room in (85e9, 25e9)
    )
    assert tight.memory < 25e9 < roomy.memory < 85e9
    assert (tight.flops, tight.moved) == (roomy.flops, roomy.moved)


@pytest.mark.parametrize("ratio", [0, 0.2, 0.3])
def test_speed_of_the_papers_table_4(ratio: float) -> None:
    """LLaMA-2-7B on an A6000: a prefill of 256 tokens, and 256 more for each of eight prompts."""
    table = pd.read_csv(ROOT / "paper/tables/table4.csv")
    rows = table[(table["ratio"] == ratio) & table["method"].isin(["dense", "entropy"])]
    published = rows.set_index("metric")["value"]
    device, shape = known_devices()["a6000"], known_shapes()["llama-2-7b"].pruned(ratio)
    case = Case(shape, "bfloat16", True, device.memory)
    prefill = seconds(device, case.read(1, 256, 1), "bfloat16")
    assert prefill == pytest.approx(published["prefill_latency"] / 1000, rel=0.25)
    decode = seconds(device, case.decode(1, 8, 256, 256), "bfloat16")
    assert 8 * 256 / decode == pytest.approx(published["decode_throughput"], rel=0.25)


@pytest.mark.parametrize("criterion", ["entropy", "sdmprune"])
@pytest.mark.parametrize(
    ("model", "name"),
    [("llama-2-7b", "LLaMA-2-7B"), ("llama-3.2-3b", "LLaMA3.2-3.2B"), ("llama-3.2-1b", "LLaMA3.2-1.2B")],
)
def test_times_of_the_papers_table_5(model: str, name: str, criterion: str) -> None:
    """Scoring by 1,000 sequences on four A6000s, of which one works at a time if a model is spread over them."""
    table = pd.read_csv(ROOT / "paper/tables/table5.csv")
    rows = table[(table["model"] == name) & (table["method"] == criterion) & (table["metric"] == "seconds")]
    device = known_devices()["a6000"]
    case = Case(known_shapes()[model], "bfloat16", True, device.memory)
    work = case.score({"it": make_criterion(criterion, {})}, 1000, 1024, ["neurons"])
    assert 1 / 1.5 < seconds(device, work, "bfloat16") / rows["value"].item() < 1.5
