"""The pages of a checkpoint's file that stay in memory when its weights are cut, as Linux counts them."""

from pathlib import Path

import pytest
import torch
from conftest import build_tiny

from hfprune.models.load import load_model
from hfprune.models.mapped import MAPS, forget
from hfprune.plans.plan import apply_plan, make_plan

SIZES = {"hidden_size": 256, "intermediate_size": 2048}
MLP = ("gate", "up", "down")

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="needs Linux's /proc")


def resident(folder: Path) -> int:
    """Return the bytes of a folder's files that are mapped and in this process's memory."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            inside = str(folder) in line
        elif inside and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


def test_a_cut_model_leaves_no_dense_weights_in_memory(tmp_path: Path, tokens: torch.Tensor) -> None:
    expected = build_tiny("llama", **SIZES)
    expected.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    dense = expected(tokens).logits
    torch.testing.assert_close(model(tokens).logits, dense)
    weights = [getattr(layer.mlp, f"{part}_proj").weight for layer in model.model.layers for part in MLP]
    copies = [weight.clone() for weight in weights]
    whole, mlps = resident(tmp_path), sum(weight.nbytes for weight in weights)
    assert whole > mlps
    plan = make_plan(model, {f"mlp.{layer}": torch.rand(2048) for layer in range(3)}, 0.2)
    for each in (model, expected):
        apply_plan(each, plan)
    torch.testing.assert_close(model(tokens).logits, expected(tokens).logits)
    # Up to two pages a weight are shared with its neighbours; the kernel may map some pages around a read.
    assert resident(tmp_path) < whole - 0.9 * mlps
    assert all(map(torch.equal, weights, copies)), "read again from the file"


def test_a_weight_that_was_written_to_stays(tmp_path: Path) -> None:
    build_tiny("llama", **SIZES).save_pretrained(tmp_path)
    weight = load_model(tmp_path).model.layers[0].mlp.up_proj.weight
    before = weight.clone()
    weight.mul_(2)
    forget(weight)
    assert torch.equal(weight, 2 * before)


def test_weights_that_are_in_no_file_stay() -> None:
    weight = torch.ones(2**20)
    forget(weight)
    assert weight.all()
