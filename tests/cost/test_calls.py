"""Calls of a layer: counted on a real model whose layers are on disk, so that every pass reads them again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from accelerate.hooks import AlignDevicesHook
from conftest import build_tiny
from transformers import PreTrainedModel

from hfprune.criteria import make_criterion
from hfprune.evaluation.measured_model import Blocks, Subject
from hfprune.evaluation.work import Case
from hfprune.measures.fidelity import Fidelity
from hfprune.models.load import load_model
from hfprune.models.shape import Shape
from hfprune.plans.mask import Mask, lay
from hfprune.plans.plan import make_plan
from hfprune.recovery.settings import Linear
from hfprune.scoring.score import score

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


@pytest.mark.parametrize(
    ("size", "bytes"),
    [("30GB", 30e9), ("1.5GB", 15e8), ("500MiB", 500 * 2**20), ("120KB", 12e4), ("3KiB", 3072)],
)
def test_sizes_of_a_budget_have_units(size: str, bytes: float) -> None:
    assert Linear(budget=size).budget_bytes() == bytes
