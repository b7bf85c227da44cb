"""Plans: from a parameter budget to the kept neurons of every layer; save, load, apply, export."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory, atomic_file
from hfprune.models import GatedMLP, gated_mlps, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hfprune.tally import Scores

# Kept neurons of every layer, first to last: one sorted int64 vector each.
Plan = list[Tensor]


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters; tied weights (embedding and head) count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def neuron_parameters(mlp: GatedMLP) -> int:
    """Return the parameters that go with one neuron: a row of gate and up, a column of down, two biases."""
    biases = sum(linear.bias is not None for linear in (mlp.gate, mlp.up))
    return mlp.gate.in_features + mlp.up.in_features + mlp.down.out_features + biases


def kept_width(model: "PreTrainedModel", ratio: float) -> int:
    """Return the neurons to keep in every layer so that `ratio` of all parameters is removed.

    The same number in every layer, as in the paper (Sec. 4.3). Rounded to the nearest neuron.

    Args:
        model: may be on the meta device.
        ratio: fraction of all parameters, not of neurons (paper, Tables 1, 2, 4).

    Raises:
        HfpruneError: not in (0, 1), or more than MLP pruning can remove; gives the largest possible ratio.
    """
    mlps = gated_mlps(model)
    widths = {mlp.width for mlp in mlps}
    if len(widths) > 1:
        raise HfpruneError(
            f"{type(model).__name__}: layers differ in width ({sorted(widths)}); nothing to cut from"
        )
    (width,) = widths
    total = count_parameters(model)
    per_width = sum(map(neuron_parameters, mlps))  # parameters that one neuron in every layer takes
    largest = (width - 1) * per_width / total
    kept = round(width - ratio * total / per_width) if 0 < ratio < 1 else 0
    if kept < 1:
        raise HfpruneError(
            f"ratio {ratio:g} cannot be reached by pruning the MLPs of {type(model).__name__}: "
            f"choose one above 0 and at most {largest:.3f}, which leaves one neuron a layer"
        )
    return kept


def keep_highest(scores: Tensor, count: int) -> Tensor:
    """Return the sorted indices of the `count` highest scores; of equal scores the first neurons are kept."""
    order = scores.argsort(descending=True, stable=True)
    return order[:count].sort().values


def kept_mask(kept: Tensor, width: int) -> Tensor:
    """Return a boolean mask [width] that is true at the kept indices."""
    mask = torch.zeros(width, dtype=torch.bool, device=kept.device)
    mask[kept] = True
    return mask


def make_plan(model: "PreTrainedModel", scores: "Scores", ratio: float) -> Plan:
    """Cut a plan for `ratio` of all parameters from the scores of a dense model.

    Raises:
        HfpruneError: an unreachable ratio, or scores that do not fit the model.
    """
    widths = [mlp.width for mlp in gated_mlps(model)]
    if widths != [len(s) for s in scores]:
        raise HfpruneError(
            f"the scores are of {len(scores)} layers of {sorted({len(s) for s in scores})} neurons, but "
            f"{type(model).__name__} has {len(widths)} of {sorted(set(widths))}: they belong to another model"
        )
    kept = kept_width(model, ratio)
    return [keep_highest(s, kept) for s in scores]


def save_plan(path: Path, plan: Plan, provenance: dict[str, Any]) -> None:
    """Write a plan atomically as safetensors: `mlp.<layer>`, int32 [kept neurons], sorted."""
    tensors = {f"mlp.{layer}": kept.to("cpu", torch.int32).contiguous() for layer, kept in enumerate(plan)}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"provenance": json.dumps(provenance)})


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        HfpruneError: not a plan.
    """
    try:
        with safe_open(path, "pt") as file:
            plan = [file.get_tensor(f"mlp.{layer}") for layer in range(len(file.keys()))]
        if any(kept.dim() != 1 or kept.is_floating_point() for kept in plan):
            raise ValueError("kept neurons are vectors of integers")
        return [kept.long() for kept in plan]
    except Exception as error:
        raise HfpruneError(f"{path}: not a plan; make one with `hfprune plan`") from error


@torch.no_grad()
def apply_plan(model: "PreTrainedModel", plan: Plan) -> None:
    """Slice the MLPs of a dense model in place to the plan's neurons.

    Raises:
        HfpruneError: the plan does not fit the model; the model is then untouched.
    """
    mlps = gated_mlps(model)
    if len(plan) != len(mlps):
        raise HfpruneError(f"the plan has {len(plan)} layers, but {type(model).__name__} has {len(mlps)}")
    for layer, (mlp, kept) in enumerate(zip(mlps, plan, strict=True)):
        if not len(kept) or kept[0] < 0 or kept[-1] >= mlp.width or (kept.diff() <= 0).any():
            raise HfpruneError(
                f"layer {layer} of the plan must hold sorted, distinct neurons below {mlp.width}, at least one"
            )
    for mlp, kept in zip(mlps, plan, strict=True):
        index = kept.to(mlp.down.weight.device)
        _slice(mlp.gate, index, 0)
        _slice(mlp.up, index, 0)
        _slice(mlp.down, index, 1)
        if hasattr(mlp.module, "intermediate_size"):
            mlp.module.intermediate_size = len(kept)  # type: ignore[assignment]
    widths = {len(kept) for kept in plan}
    if len(widths) == 1:
        model.config.intermediate_size = widths.pop()


def _slice(linear: nn.Linear, index: Tensor, dimension: int) -> None:
    linear.weight = nn.Parameter(linear.weight.index_select(dimension, index), requires_grad=False)
    linear.out_features, linear.in_features = linear.weight.shape
    if dimension == 0 and linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.index_select(0, index), requires_grad=False)


def _is_checkpoint(folder: Path) -> bool:
    """Tell whether a folder is empty or holds a checkpoint and nothing else, so that it may be replaced."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    known = (".json", ".safetensors", ".jinja", ".txt", ".model")
    return not names or ("config.json" in names and all(name.endswith(known) for name in names))


def export(model: "PreTrainedModel", source: Path, out: Path) -> None:
    """Write a pruned model and the tokenizer of `source` as a checkpoint that plain `from_pretrained` loads.

    Raises:
        HfpruneError: layers of unequal width, which `from_pretrained` cannot load, or something else than an
            earlier export is at `out`.
    """
    if len({mlp.width for mlp in gated_mlps(model)}) > 1:
        raise HfpruneError(
            f"cannot export to {out}: layers of unequal width do not load with from_pretrained"
        )
    if out.exists() and (out.resolve() == source.resolve() or not _is_checkpoint(out)):
        raise HfpruneError(
            f"{out}: exists and is no earlier export; choose another folder, nothing was touched"
        )
    tokenizer = load_tokenizer(source)
    with atomic_directory(out) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
