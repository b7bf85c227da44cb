"""The layer with an adapter, against autograd on the same operations one by one; and what dropout drops."""

import pytest
import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn.functional import linear

from hfprune.recovery import layer
from hfprune.recovery.layer import Adapted


def adapted(dropout: float, bias: bool = True, dtype: torch.dtype = torch.float64) -> Adapted:
    torch.manual_seed(1)
    base = nn.Linear(12, 7, bias=bias, dtype=dtype).requires_grad_(False)
    config = LoraConfig(r=3, lora_alpha=5, lora_dropout=dropout)
    made = Adapted(base, "default", config=config, r=3, lora_alpha=5)
    made.lora_A.float(), made.lora_B.float()  # as peft does in a model of low precision
    nn.init.normal_(made.lora_B["default"].weight)  # zero at first, which would hide mistakes
    return made.train()


def reference(made: Adapted, x: Tensor, kept: Tensor, dropout: float) -> Tensor:
    """Return what peft computes where dropout keeps `kept`, a mask of zeros and ones."""
    down, up = made.lora_A["default"].weight, made.lora_B["default"].weight
    read = x * kept / (1 - dropout)
    return linear(x, made.base_layer.weight, made.base_layer.bias) + linear(linear(read, down), up) * (5 / 3)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_are_those_of_the_operations_one_by_one(
    dropout: float, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapted(dropout, bias).double()
    x = torch.randn(2, 40, 12, dtype=torch.float64)
    dropped = layer._drawn(x, dropout) if dropout else torch.tensor([], dtype=torch.int64)
    monkeypatch.setattr(layer, "_drawn", lambda *_: dropped)
    kept = torch.ones_like(x)
    kept.view(-1)[dropped] = 0
    assert bool(dropout) == bool((kept == 0).any())
    weights = [x, made.lora_A["default"].weight, made.lora_B["default"].weight]
    weights[0].requires_grad_()
    found, expected = made(x), reference(made, x, kept, dropout)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(expected)
    gradients = (torch.autograd.grad((out * towards).sum(), weights) for out in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)
    made.eval()
    torch.testing.assert_close(made(x), reference(made, x, torch.ones_like(x), 0))


def test_an_input_without_gradient_gets_none_and_gradients_have_the_adapters_dtype() -> None:
    made = adapted(0.1, dtype=torch.bfloat16)
    out = made(torch.randn(4, 12, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert {p.grad.dtype for p in made.parameters() if p.grad is not None} == {torch.float32}
    assert all(p.grad is not None for p in (made.lora_A["default"].weight, made.lora_B["default"].weight))


@pytest.mark.parametrize("dropout", [0.05, 0.5])
def test_every_number_is_dropped_with_the_same_probability_and_on_its_own(dropout: float) -> None:
    torch.manual_seed(0)
    x = torch.empty(50, 40)
    drawn = torch.zeros(400, x.numel())
    for run in drawn:
        run[layer._drawn(x, dropout)] = 1
    error = (dropout * (1 - dropout) / drawn.numel()) ** 0.5
    assert float(drawn.mean()) == pytest.approx(dropout, abs=4 * error)
    for start in (0, 1950):  # at both ends as in the middle
        some = drawn[:, start : start + 50]
        assert float(some.mean()) == pytest.approx(dropout, abs=4 * error * (2000 / 50) ** 0.5)
    together = float((drawn[:, 1:] * drawn[:, :-1]).mean())  # neighbours
    assert together == pytest.approx(dropout**2, abs=4 * (dropout**2 / drawn.numel()) ** 0.5)
    assert not torch.equal(drawn[0], drawn[1])
