"""Plans: from a parameter budget to the kept neurons of every layer; save, load, apply, export."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory, atomic_file, write_json
from hfprune.loadable import loadable
from hfprune.models import Attention, GatedMLP, attentions, gated_mlps, load_tokenizer, tensor_names
from hfprune.study import Allocation, Parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hfprune.tally import Scores

# Kept neurons of every layer, first to last: one sorted int64 vector each. Where attention is pruned too, the kept
# key-value groups of every layer follow.
Plan = list[Tensor]


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters; tied weights (embedding and head) count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def neuron_parameters(mlp: GatedMLP) -> int:
    """Return the parameters that go with one neuron: a row of gate and up, a column of down, two biases."""
    biases = sum(linear.bias is not None for linear in (mlp.gate, mlp.up))
    return mlp.gate.in_features + mlp.up.in_features + mlp.down.out_features + biases


def group_parameters(attention: Attention) -> int:
    """Return the parameters that go with one key-value group: rows of q, k and v, columns of o, biases."""
    q, k, v = (
        linear.in_features + (linear.bias is not None) for linear in (attention.q, attention.k, attention.v)
    )
    return attention.channels * (q + attention.o.out_features) + attention.head_dim * (k + v)


def kept_units(model: "PreTrainedModel", ratio: float, parts: Parts = "mlp") -> list[int]:
    """Return how many neurons, and key-value groups, every layer keeps so that `ratio` of all parameters goes.

    The same numbers in every layer, as in the paper (Sec. 4.3). The paper does not say how Table 8 shares the
    budget between attention and MLP; here the same fraction of groups and of neurons goes. Groups are few, so
    they are rounded to the nearest number that leaves the MLP a share it can meet, and the MLP takes up the
    rest: the total is that of MLP pruning alone, to half a neuron a layer.

    Args:
        model: may be on the meta device.
        ratio: fraction of all parameters, not of neurons (paper, Tables 1, 2, 4).
        parts: what is pruned.

    Returns:
        [neurons] or [neurons, groups].

    Raises:
        HfpruneError: not in (0, 1), or more than can be removed; gives the largest possible ratio.
    """
    (width, per_width), *rest = layer_units(model, parts)
    groups, per_group = rest[0] if rest else (1, 0)
    total = count_parameters(model)
    fraction = ratio * total / (width * per_width + groups * per_group)

    def neurons(kept: int) -> int:
        return round(width - (ratio * total - (groups - kept) * per_group) / per_width)

    reachable = (
        [kept for kept in range(1, groups + 1) if 1 <= neurons(kept) <= width] if 0 < ratio < 1 else []
    )
    if not reachable:
        largest = ((width - 1) * per_width + (groups - 1) * per_group) / total
        smallest = "one neuron and one group" if rest else "one neuron"
        raise HfpruneError(
            f"ratio {ratio:g} cannot be reached by pruning {parts} of {type(model).__name__}: "
            f"choose one above 0 and at most {largest:.3f}, which leaves {smallest} a layer"
        )
    kept = min(reachable, key=lambda kept: abs(kept - groups * (1 - fraction)))
    return [neurons(kept), kept][: 1 + len(rest)]


def layer_units(model: "PreTrainedModel", parts: Parts) -> list[tuple[int, int]]:
    """Return (how many a layer has, parameters that one in every layer takes) of neurons, then of groups.

    Raises:
        HfpruneError: layers differ, so that a number of all layers says nothing.
    """
    mlps = gated_mlps(model)
    counts = [({mlp.width for mlp in mlps}, sum(map(neuron_parameters, mlps)))]
    if parts == "mlp+attention":
        views = attentions(model)
        counts.append(({view.groups for view in views}, sum(map(group_parameters, views))))
    for sizes, _ in counts:
        if len(sizes) > 1:
            raise HfpruneError(
                f"{type(model).__name__}: layers differ in width ({sorted(sizes)}); nothing to cut from"
            )
    return [(sizes.pop(), parameters) for sizes, parameters in counts]


def keep_highest(scores: Tensor, count: int) -> Tensor:
    """Return the sorted indices of the `count` highest scores; of equal scores the first neurons are kept."""
    order = scores.argsort(descending=True, stable=True)
    return order[:count].sort().values


def kept_mask(kept: Tensor, width: int) -> Tensor:
    """Return a boolean mask [width] that is true at the kept indices."""
    mask = torch.zeros(width, dtype=torch.bool, device=kept.device)
    mask[kept] = True
    return mask


def keep_globally(scores: Sequence[Tensor], count: int, allocation: Allocation) -> list[Tensor]:
    """Return the sorted indices, layer by layer, of the `count` highest scores of all layers together.

    A layer's own highest scores, up to the allocation's floor, are kept in any case. Standardised scores are
    z-scores within the layer (as in FLAP), since layers differ in scale.

    Raises:
        HfpruneError: the floors alone keep more than `count`.
    """
    ranked = []
    for layer in scores:
        ranks = (
            (layer - layer.mean()) / layer.std().clamp_min(1e-300)
            if allocation.standardize
            else layer.clone()
        )
        ranks[keep_highest(ranks, floor_width(len(ranks), allocation.floor))] = torch.inf
        ranked.append(ranks)
    joined = torch.cat(ranked)
    check_floor(count, int(joined.isinf().sum()), allocation.floor)
    mask = kept_mask(keep_highest(joined, count), len(joined))
    return [part.nonzero().squeeze(1) for part in mask.split([len(layer) for layer in scores])]


def floor_width(width: int, floor: float) -> int:
    """Return how many of a layer's neurons a floor keeps: the nearest number, at least one."""
    return max(1, round(floor * width))


def check_floor(count: int, least: int, floor: float) -> None:
    """Fail if the `least` neurons that a floor keeps are more than the `count` that the budget leaves."""
    if least > count:
        raise HfpruneError(
            f"a floor of {floor:g} keeps {least} neurons, but the ratio leaves {count}: lower one of the two"
        )


def make_plan(
    model: "PreTrainedModel",
    scores: "Scores",
    ratio: float,
    parts: Parts = "mlp",
    allocation: Allocation = Allocation(),  # noqa: B008 (frozen)
) -> Plan:
    """Cut a plan for `ratio` of all parameters from the scores of a dense model's `parts`.

    Whatever the allocation, as many neurons remain in all, and as many groups in every layer.

    Raises:
        HfpruneError: an unreachable ratio or floor, or scores that do not fit the model.
    """
    sizes = _sizes(model, parts)
    if sizes != [len(s) for s in scores]:
        raise HfpruneError(
            f"the scores are of {len(scores)} layers of {sorted({len(s) for s in scores})} neurons, but "
            f"{type(model).__name__} has {len(sizes)} of {sorted(set(sizes))}: they belong to another model"
        )
    counts = kept_units(model, ratio, parts)
    layers = len(scores) // len(counts)
    if allocation.rule == "global":
        neurons = keep_globally(scores[:layers], counts[0] * layers, allocation)
    else:
        neurons = [keep_highest(s, counts[0]) for s in scores[:layers]]
    return neurons + [keep_highest(s, counts[1]) for s in scores[layers:]]


def _sizes(model: "PreTrainedModel", parts: Parts) -> list[int]:
    """Return the neurons of every layer, then, with attention, its key-value groups: what a plan chooses from."""
    neurons = [mlp.width for mlp in gated_mlps(model)]
    return neurons + ([view.groups for view in attentions(model)] if parts == "mlp+attention" else [])


def save_plan(path: Path, plan: Plan, provenance: dict[str, Any], parts: Parts = "mlp") -> None:
    """Write a plan atomically as safetensors, int32, sorted: `mlp.<layer>` neurons, `attention.<layer>` groups."""
    names = tensor_names(parts, len(plan))
    tensors = {name: kept.to("cpu", torch.int32).contiguous() for name, kept in zip(names, plan, strict=True)}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"provenance": json.dumps(provenance)})


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        HfpruneError: not a plan.
    """
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            parts: Parts = "mlp+attention" if "attention.0" in names else "mlp"
            plan = [file.get_tensor(name) for name in tensor_names(parts, len(names))]
        if any(kept.dim() != 1 or kept.is_floating_point() for kept in plan):
            raise ValueError("kept neurons are vectors of integers")
        return [kept.long() for kept in plan]
    except Exception as error:
        raise HfpruneError(f"{path}: not a plan; make one with `hfprune plan`") from error


@torch.no_grad()
def apply_plan(model: "PreTrainedModel", plan: Plan) -> None:
    """Slice the MLPs, and the attention, of a dense model in place to the plan's neurons and key-value groups.

    Raises:
        HfpruneError: the plan does not fit the model; the model is then untouched.
    """
    mlps = gated_mlps(model)
    parts: Parts = "mlp+attention" if len(plan) == 2 * len(mlps) else "mlp"
    _check_fits(model, plan, parts)
    for mlp, kept in zip(mlps, plan[: len(mlps)], strict=True):
        _keep_neurons(mlp, kept.to(mlp.down.weight.device))
    widths = {mlp.width for mlp in mlps}
    if len(widths) == 1:
        model.config.intermediate_size = widths.pop()
    if parts == "mlp+attention":
        views = attentions(model)
        for view, kept in zip(views, plan[len(mlps) :], strict=True):
            _keep_groups(view, kept.to(view.o.weight.device))
        config = model.config
        config.head_dim = views[0].head_dim  # else it would follow from the number of heads
        config.num_attention_heads = views[0].o.in_features // views[0].head_dim
        config.num_key_value_heads = views[0].groups


def _check_fits(model: "PreTrainedModel", plan: Plan, parts: Parts) -> None:
    sizes = _sizes(model, parts)
    if len(plan) != len(sizes):
        raise HfpruneError(f"the plan has {len(plan)} layers, but {type(model).__name__} has {len(sizes)}")
    for name, kept, size in zip(tensor_names(parts, len(plan)), plan, sizes, strict=True):
        if not len(kept) or kept[0] < 0 or kept[-1] >= size or (kept.diff() <= 0).any():
            raise HfpruneError(
                f"{name} of the plan must hold sorted, distinct numbers below {size}, at least one"
            )
    if parts == "mlp+attention" and len({len(kept) for kept in plan[len(plan) // 2 :]}) > 1:
        raise HfpruneError(
            "the plan must keep as many key-value groups in every layer; a model has one number"
        )


def _keep_neurons(mlp: GatedMLP, kept: Tensor) -> None:
    _slice(mlp.gate, kept, 0)
    _slice(mlp.up, kept, 0)
    _slice(mlp.down, kept, 1)
    if hasattr(mlp.module, "intermediate_size"):
        mlp.module.intermediate_size = len(kept)  # type: ignore[assignment]


def _keep_groups(view: Attention, kept: Tensor) -> None:
    """Slice; whole groups leave `num_key_value_groups`, the query heads of each, as it was."""

    def channels(size: int) -> Tensor:
        return (kept.unsqueeze(1) * size + torch.arange(size, device=kept.device)).flatten()

    queries, keys = channels(view.channels), channels(view.head_dim)
    _slice(view.q, queries, 0)
    _slice(view.k, keys, 0)
    _slice(view.v, keys, 0)
    _slice(view.o, queries, 1)


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


def export(model: "PreTrainedModel", source: Path, out: Path, made: dict[str, Any] | None = None) -> int:
    """Write a pruned model and the tokenizer of `source` as a checkpoint that plain `from_pretrained` loads.

    Layers of unequal width are padded with zeros to the widest: more on disk, and the same function.
    `provenance.json` beside the weights holds both sizes and what `made` says.

    Returns:
        Parameters in the checkpoint.

    Raises:
        HfpruneError: a model that no config can describe, or something else than an earlier export is at `out`.
    """
    if out.exists() and (out.resolve() == source.resolve() or not _is_checkpoint(out)):
        raise HfpruneError(
            f"{out}: exists and is no earlier export; choose another folder, nothing was touched"
        )
    tokenizer = load_tokenizer(source)
    written = loadable(model)
    sizes = {"parameters": count_parameters(model), "parameters_on_disk": count_parameters(written)}
    with atomic_directory(out) as temporary:
        written.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_json(temporary / "provenance.json", (made or {}) | sizes)
    return sizes["parameters_on_disk"]
