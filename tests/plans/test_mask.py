"""A masked dense model gives the outputs of the sliced one, and of itself when the mask is off."""

import copy

import pytest
import torch
from conftest import build_tiny

from hfprune.errors import HfpruneError
from hfprune.models.units import units_of
from hfprune.plans.mask import masked
from hfprune.plans.planning import apply_plan, make_plan
from hfprune.rules import Allocation

TOKENS = torch.randint(0, 97, (3, 11), generator=torch.Generator().manual_seed(0))
UNITS = {
    "neurons": ("uniform", ["neurons"]),
    "unequal widths": ("global", ["neurons"]),
    "groups": ("uniform", ["neurons", "key_value_groups"]),
    "layers": ("uniform", ["layers"]),
}


@pytest.mark.parametrize("architecture", ["llama-bias", "qwen3"])
@pytest.mark.parametrize("units", UNITS)
def test_masked_equals_sliced(architecture: str, units: str) -> None:
    dense = build_tiny(architecture)
    rule, kinds = UNITS[units]
    generator = torch.Generator().manual_seed(1)
    scores = {
        place: torch.rand(unit.count, generator=generator) for place, unit in units_of(dense, kinds).items()
    }
    plan = make_plan(dense, scores, 0.2, dict.fromkeys(kinds), Allocation(rule=rule))
    sliced = copy.deepcopy(dense)
    apply_plan(sliced, plan)
    with torch.no_grad():
        before, expected = dense(input_ids=TOKENS).logits, sliced(input_ids=TOKENS).logits
        with masked(dense, plan) as mask:
            torch.testing.assert_close(dense(input_ids=TOKENS).logits, expected, rtol=1e-4, atol=1e-5)
            with mask.off():
                assert torch.equal(dense(input_ids=TOKENS).logits, before)
        assert torch.equal(dense(input_ids=TOKENS).logits, before)
    assert not torch.allclose(before, expected, atol=1e-4)


def test_a_plan_of_another_model_is_refused_and_leaves_no_hook() -> None:
    dense = build_tiny("llama")
    plan = {f"mlp.{layer}": torch.tensor([10**6]) for layer in range(len(dense.model.layers))}
    with pytest.raises(HfpruneError, match="must hold sorted, distinct numbers"), masked(dense, plan):
        pass
    assert not any(module._forward_pre_hooks for module in dense.modules())
