import pytest
import torch
from conftest import build_tiny

from hfprune.models.aligned import aligned
from hfprune.plans.planning import apply_plan, make_plan


@pytest.mark.parametrize("kind", ["llama", "llama-bias"])
def test_filled_up_widths_change_no_output_and_are_gone_afterwards(kind: str) -> None:
    model = build_tiny(kind)
    apply_plan(model, make_plan(model, {f"mlp.{layer}": torch.rand(48) for layer in range(3)}, 0.2))
    tokens = torch.arange(12)[None]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    cut = model(tokens).logits
    widths = {layer.mlp.down_proj.weight.shape[1] for layer in model.model.layers}
    assert any(width % 8 for width in widths)
    with pytest.raises(KeyboardInterrupt), aligned(model, 8):
        filled = {layer.mlp.down_proj.weight.shape[1] for layer in model.model.layers}
        assert filled == {-(-width // 8) * 8 for width in widths}
        assert torch.allclose(model(tokens).logits, cut, atol=1e-6)
        raise KeyboardInterrupt
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
