"""Reconstructed linear layers: their files, and their insertion into a pruned model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hfprune.errors import HfpruneError, explained
from hfprune.models.units import units_of
from hfprune.plans.planning import Plan
from hfprune.provenance import check_origin, metadata, recorded, save_tensors
from hfprune.runs import Provenance
from hfprune.settings.units import kind_of, layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Settings of transformers' configurations that give biases to the linear layers of these units.
BIASES = {"neurons": "mlp_bias", "key_value_groups": "attention_bias"}


class Solved(NamedTuple):
    """The linear layer that reads the kept units of a place, reconstructed."""

    weight: Tensor
    """[outputs, inputs kept], in the model's dtype."""
    bias: Tensor | None
    """[outputs]; None without a bias."""
    ridge: float
    """The chosen λ."""
    left: float
    """Share of the squared lost output that the fit at this λ leaves, on held-out tokens and random combinations
    of outputs."""


def save_solved(path: Path, solved: dict[str, Solved], run: Provenance | None = None, **about: str) -> None:
    """Write solved layers atomically as safetensors: `<place>.weight` and `<place>.bias`; fits in the metadata."""
    tensors = {f"{place}.weight": solution.weight.contiguous() for place, solution in solved.items()}
    tensors |= {
        f"{place}.bias": solution.bias for place, solution in solved.items() if solution.bias is not None
    }
    fits = {place: {"ridge": solution.ridge, "left": solution.left} for place, solution in solved.items()}
    save_tensors(path, tensors, run, **about, linear=json.dumps(fits))


def load_solved(path: Path) -> dict[str, Solved]:
    """Read solved layers by place.

    Raises:
        HfpruneError: the file holds no solved layers, or is damaged.
    """
    with explained(f"{path}: no linear recovery, or a damaged one", Exception):
        tensors, fits = load_file(path), json.loads(metadata(path)["linear"])
        return {
            place: Solved(tensors[f"{place}.weight"], tensors.get(f"{place}.bias"), **fit)
            for place, fit in fits.items()
        }


@torch.no_grad()
def apply_linear(model: "PreTrainedModel", plan: Plan, path: Path, inputs: dict[str, Path]) -> None:
    """Put solved layers into a pruned model, in its dtype.

    The model gets the weights, and the biases if they were solved. If its configuration has a setting for biases,
    all layers then have them, zero where none was solved; any other model has them in memory only and cannot be
    exported.

    `inputs` are the files from which the model comes: `model` and `plan`.

    Raises:
        HfpruneError: the file is no linear recovery, or is of another model or plan.
    """
    solved = load_solved(path)
    check_origin(path, recorded(path).get("inputs", {}), ("model", "plan"), inputs)
    units = units_of(model, dict.fromkeys(map(kind_of, solved)))
    numbers = plan["layers"].tolist() if "layers" in plan else [*range(len(model.model.layers))]
    for place, solution in solved.items():
        name = f"{place.partition('.')[0]}.{numbers.index(layer_of(place))}"
        linear = units[name].linears[-1]
        if linear.weight.shape != solution.weight.shape:
            raise HfpruneError(f"{path}: {place} does not fit the model: it was solved for another plan")
        linear.weight = _frozen(solution.weight, linear.weight)
        if solution.bias is not None:
            _give_biases(model, kind_of(place))
            linear.bias = _frozen(solution.bias, linear.weight)


def _frozen(x: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(x.to(like), requires_grad=False)


def _give_biases(model: "PreTrainedModel", kind: str) -> None:
    """Give zero biases to all layers that share the configuration's setting for biases, if it has one."""
    if not hasattr(model.config, BIASES[kind]):
        return
    for units in units_of(model, [kind]).values():
        for linear in units.linears:
            if linear.bias is None:
                setattr(model.config, BIASES[kind], True)
                linear.bias = _frozen(linear.weight.new_zeros(linear.out_features), linear.weight)
