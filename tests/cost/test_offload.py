"""Reads of offloaded weights: counted on a real model whose layers are on disk, and their time by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.hooks import AlignDevicesHook
from accelerate.utils import convert_file_size_to_int
from conftest import build_tiny
from smoke import ROOT
from transformers import PreTrainedModel

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.jobs import Costs, Job
from hfprune.cost.offload import BUS, Offloaded
from hfprune.cost.speed import READ
from hfprune.criteria import make_criterion
from hfprune.devices.table import known_devices
from hfprune.evaluation.measured_model import Blocks, Subject
from hfprune.evaluation.work import Case
from hfprune.measures.fidelity import Fidelity
from hfprune.models.load import load_model
from hfprune.models.placement import size_in_bytes
from hfprune.models.shape import Shape, known_shapes
from hfprune.plans.mask import Mask, lay
from hfprune.plans.plan import make_plan
from hfprune.scoring.score import score
from hfprune.settings import load, validate
from hfprune.study.study import Study

SEQUENCES, LENGTH, BATCH = 6, 17, 34


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_tiny("llama").save_pretrained(tmp_path)
    return tmp_path


@contextmanager
def counted(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.nn.Module]]:
    """Collect the attention's last product at every read of its weights, one for each read of a layer."""
    found: list[torch.nn.Module] = []
    parts = {layer.self_attn.o_proj for layer in model.model.layers}
    plain = AlignDevicesHook.pre_forward

    def read(hook: AlignDevicesHook, module: torch.nn.Module, *arguments, **named):
        if hook.offload and module in parts:
            found.append(module)
        return plain(hook, module, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(AlignDevicesHook, "pre_forward", read)
        yield found


def on_disk(folder: Path) -> PreTrainedModel:
    return load_model(folder, "float32", device_map="auto", max_memory={"cpu": "0GB"})


def case(folder: Path, **more) -> Case:
    shape = Shape.of_config(load_model(folder).config.to_dict())
    return Case(shape, "float32", on_gpu=False, room=16e9, dense=shape, **more)


@pytest.mark.parametrize("names", [["entropy"], ["entropy", "cross_entropy"], ["distillation"]])
def test_scoring_reads_a_layer_as_often_as_counted(
    folder: Path, tokens, monkeypatch, names: list[str]
) -> None:
    criteria = {name: make_criterion(name, {}) for name in names}
    model = on_disk(folder)
    with counted(model, monkeypatch) as reads:
        score(criteria, model, tokens, batch_tokens=BATCH)
    assert len(reads) == case(folder).score(criteria, SEQUENCES, LENGTH, ["neurons"], BATCH).calls


def test_fidelity_reads_a_layer_as_often_as_counted(folder: Path, tokens, monkeypatch) -> None:
    scores = {f"mlp.{layer}": torch.rand(48) for layer in range(3)}
    plan, other = (make_plan(load_model(folder), scores, ratio) for ratio in (0.2, 0.1))
    model = on_disk(folder)

    class Given(Subject):
        def blocks(self, text) -> Blocks:
            return Blocks(tokens, [*range(SEQUENCES)])

    def masked(model):
        lay(model, plan, Mask())
        return model

    measure = Fidelity(corpus="text", sequences=SEQUENCES, length=LENGTH, batch_tokens=BATCH)
    subject = Given(lambda: masked(on_disk(folder)), lambda: model, change=masked, resampled=[other])
    with counted(model, monkeypatch) as reads:
        for variant in subject.variants():
            measure.run(variant)
        measure.run(subject)
    assert len(reads) == measure.work(case(folder, resamples=1)).calls


def test_where_layers_lie() -> None:
    """LLaMA-2-7B in bfloat16: 0.26 GB of embedding, 32 layers of 0.4047 GB each."""
    shape, gpu = known_shapes()["llama-2-7b"], replace(known_devices()["rtx-4090"], memory=10e9)

    def layers(device, limits) -> tuple[float, float]:
        return Offloaded.of(shape, 2, device, limits)[:2]

    assert layers(gpu, {}) == (11, 0)
    assert layers(gpu, {0: "5GB", "cpu": "3GB"}) == (7, 14)
    assert layers(gpu, {0: "5GB"}) == (0, 21)
    assert layers(gpu, {0: "5GB", 1: "5GB"}) == (0, 8)
    assert layers(replace(known_devices()["cpu"], memory=16e9), {}) == (0, 0)
    assert layers(replace(known_devices()["cpu"], memory=16e9), {"cpu": 4 * 10**9}) == (0, 23)


@pytest.mark.parametrize("size", [7, "30GB", "1.5GB", "500MiB", "2GiB", "120KB", "3KiB"])
def test_sizes_are_those_of_accelerate(size: int | str) -> None:
    assert size_in_bytes(size) == convert_file_size_to_int(size)


@pytest.fixture
def jobs() -> Callable[..., dict[str, Job]]:
    """Return a function of `max_memory` that gives the longest job of each rule, of entropy on LLaMA-3.2-1B."""
    settings = yaml.safe_load((ROOT / "config/studies/paper-small.yaml").read_text())
    settings |= {"models": ["llama-3.2-1b"], "methods": {"entropy": {}}, "device_map": "auto"}
    settings["calibration"] = {"corpus": "c4", "sequences": 64, "length": 1024}
    catalogue, device = load(Catalogue, ROOT / "config/assets.yaml"), known_devices()["rtx-3090"]
    measures, _ = settings["measures"], settings.pop("primary")
    settings["measures"] = {"fidelity": measures["fidelity"]}

    def found(**max_memory: str) -> dict[str, Job]:
        limits = {int(name[3:]) if name != "cpu" else name: size for name, size in max_memory.items()}
        study = validate(Study, settings | {"max_memory": limits}, "s")
        every = Costs("s", study, device, catalogue, Path("none")).jobs()
        return {job.rule: job for job in sorted(every, key=lambda job: job.seconds)}

    return found


def test_scoring_takes_the_time_of_its_reads(jobs) -> None:
    """Four batches of 16 sequences, each read forward and backward.

    0.53 GB of embedding, 16 layers of 0.1216 GB: three on the GPU, eight in main memory, five on disk.
    """
    held, read = jobs()["score_0"], jobs(gpu0="1GB", cpu="1GB")["score_0"]
    expected = 4 * 2 * 60_817_408 * 2 * (8 / BUS + 5 / READ)
    assert read.seconds - held.seconds == pytest.approx(expected)


def test_a_plan_on_offloaded_weights_takes_the_time_of_the_dense_model(jobs) -> None:
    held, read = jobs()["measure_fidelity"], jobs(gpu0="1GB", cpu="1GB")["measure_fidelity"]
    tokens = 400 * 256
    dense = known_shapes()["llama-3.2-1b"].forward(tokens, tokens * 256, tokens)
    assert held.flops < read.flops == pytest.approx(2 * dense)
