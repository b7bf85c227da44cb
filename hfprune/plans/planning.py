"""Plans: the kept units by name, which describe a pruned model; made, saved, loaded, checked and applied here."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from hfprune.errors import HfpruneError, explained
from hfprune.models.on_disk import is_on_disk, move
from hfprune.models.sizes import describe, layer_sizes
from hfprune.models.units import KeyValueGroups, Kind, Units, count_parameters, units_of
from hfprune.plans.allocation import keep_globally, keep_highest, keep_jointly, keep_uniformly
from hfprune.plans.counts import kept_units
from hfprune.provenance import save_tensors
from hfprune.runs import Provenance
from hfprune.settings.allocation import Allocation
from hfprune.settings.units import UnitShares, kind_of, layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The kept units by name, sorted int64 vectors: `mlp.<layer>` and `attention.<layer>` for every kept layer, and
# `layers` if layers are removed. Layers are numbered as in the dense model, in names too.
Plan = dict[str, Tensor]


def make_plan(
    model: "PreTrainedModel",
    scores: dict[str, Tensor],
    ratio: float,
    units: UnitShares | None = None,
    allocation: Allocation = Allocation(),  # noqa: B008 (frozen)
    part: float = 1.0,
) -> Plan:
    """Make a plan that removes `ratio` of all parameters, from the scores of a dense model.

    `uniform` and `global` keep the same total of neurons, and the same number of groups in every layer that is not
    spared. `joint` meets the ratio to half a neuron; scores decide which kinds are removed.

    Args:
        model: the dense model; may be on the meta device.
        scores: vectors [units] by name; kinds that are not in `units` are ignored. Units that an earlier step
            removed have -inf (`scores_of_dense`).
        ratio: fraction of all parameters.
        units: the kinds to prune, with their shares of the removed parameters or `None`; by default all scored
            kinds, with the same fraction of each.
        allocation: how the kept neurons are divided among layers.
        part: the part of the ratio that a step of several removes; see `kept_units`.

    Raises:
        HfpruneError: the ratio or alignment cannot be met, the scores do not fit the model, or they come from a
            step after this part.
    """
    units = units or dict.fromkeys(kind_of(name) for name in scores)
    if reason := allocation.unfit(units):
        raise HfpruneError(reason)
    by_name = units_of(model, [*units])
    for name, unit in by_name.items():
        if name not in scores or len(scores[name]) != unit.count:
            has = f"{len(scores[name]):,} scores" if name in scores else "no scores"
            raise HfpruneError(
                f"{name} has {has}, but {type(model).__name__} has {unit.count:,} {unit.kind} there: "
                "the scores belong to another model or to other units"
            )
    spared = allocation.spared(len(model.model.layers))
    if allocation.rule == "joint":
        plan = keep_jointly(by_name, scores, part * ratio * count_parameters(model))
    else:
        counts = kept_units(model, ratio, units, part, len(spared))
        plan = {"layers": keep_highest(scores["layers"], int(counts["layers"]))} if "layers" in counts else {}
        staying = [name for name in by_name if name != "layers" and layer_of(name) in _layers(plan, model)]
        plan |= {name: torch.arange(by_name[name].count) for name in staying if layer_of(name) in spared}
        staying = [name for name in staying if layer_of(name) not in spared]
        neurons = [name for name in staying if kind_of(name) == "neurons"]
        if neurons:
            rows, count = [scores[name] for name in neurons], counts["neurons"]
            by_layer = (
                keep_globally(rows, round(count * len(rows)), allocation.standardize)
                if allocation.rule == "global"
                else keep_uniformly(rows, count, allocation.align)
            )
            plan |= dict(zip(neurons, by_layer, strict=True))
        groups = [name for name in staying if kind_of(name) == "key_value_groups"]
        plan |= {name: keep_highest(scores[name], int(counts["key_value_groups"])) for name in groups}
    for name, kept in plan.items():
        if (scores[name][kept] == -torch.inf).any():
            raise HfpruneError(
                f"{name} would keep units that an earlier step removed: "
                "the scores are of a later part, of a higher ratio or of other units"
            )
    return plan


def scores_of_dense(left: Mapping[str, Tensor], plan: Plan, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the scores of a pruned model's units under their names in the dense model; a removed unit has -inf.

    A plan made from them is the pruned model's next plan, composed with `plan`: it keeps none of the removed
    units, and names the others as the dense model does.

    Args:
        left: scores of the pruned model's units by name, with layers numbered as in the pruned model.
        plan: the plan that made the pruned model.
        counts: number of units of the dense model by name, for the kinds that were scored.
    """
    of_dense = {name: torch.full((count,), -torch.inf, dtype=torch.float64) for name, count in counts.items()}
    for name, scores in left.items():
        if "layers" in plan and name != "layers":
            name = f"{name.partition('.')[0]}.{plan['layers'][layer_of(name)]}"
        of_dense[name][plan.get(name, torch.arange(counts[name]))] = scores.to("cpu", torch.float64)
    return of_dense


def save_plan(path: Path, plan: Plan, provenance: Provenance, note: str = "") -> None:
    """Write a plan atomically as safetensors, one int32 vector per name.

    `note` says why a requested kind of unit is not pruned (`counts.not_applicable`), or is "".
    """
    tensors = {name: kept.to("cpu", torch.int32).contiguous() for name, kept in plan.items()}
    save_tensors(path, tensors, provenance, **({"not_applicable": note} if note else {}))


def load_plan(path: Path) -> Plan:
    """Read a plan, ordered by kind and layer.

    Raises:
        HfpruneError: there is no such file, or it is not a plan.
    """
    with _opened(path) as file:
        plan = {name: file.get_tensor(name) for name in sorted(file.keys(), key=_order)}
        if not plan or any(kept.dim() != 1 or kept.is_floating_point() for kept in plan.values()):
            raise ValueError("kept units are vectors of integers")
        return {name: kept.long() for name, kept in plan.items()}


def plan_note(path: Path) -> str:
    """Return why a kind of unit that the plan's method prunes is not cut, or "" if all are.

    Raises:
        HfpruneError: see `load_plan`.
    """
    with _opened(path) as file:
        return (file.metadata() or {}).get("not_applicable", "")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a plan's file; any failure to read it within the block is reported as a file without a plan."""
    if not path.exists():
        raise HfpruneError(f"{path}: no such file")
    text = f"{path}: not a plan; make one with `hfprune plan`"
    with explained(text, Exception), safe_open(path, "pt") as file:
        yield file


def _order(name: str) -> tuple[Kind, int]:
    kind = kind_of(name)
    return kind, 0 if kind == "layers" else layer_of(name)


def same_plan(a: Plan, b: Plan) -> bool:
    """Tell whether two plans keep the same units."""
    return a.keys() == b.keys() and all(torch.equal(kept, b[name]) for name, kept in a.items())


def check_plan(model: "PreTrainedModel", plan: Plan) -> dict[str, Units]:
    """Check that a plan fits a dense model, and return the model's units of the plan's kinds, by name.

    Raises:
        HfpruneError: a name is missing, the model lacks a name, or a kept unit does not exist.
    """
    kinds = dict.fromkeys(kind_of(name) for name in plan)
    units = units_of(model, [*kinds])
    if not plan:
        raise HfpruneError("the plan keeps nothing: it is empty")
    if "layers" in plan:
        _check_kept("layers", plan["layers"], units["layers"].count)
    layers = _layers(plan, model)
    wanted = [name for name in units if name == "layers" or layer_of(name) in layers]
    if strange := [name for name in plan if name not in wanted]:
        raise HfpruneError(f"the plan has {strange[0]}, but {_depth(model, plan)}")
    if lacking := [name for name in wanted if name not in plan]:
        raise HfpruneError(f"the plan lacks {lacking[0]}, but {_depth(model, plan)}")
    for name, kept in plan.items():
        _check_kept(name, kept, units[name].count)
    return units


def _check_kept(name: str, kept: Tensor, count: int) -> None:
    if not len(kept) or kept[0] < 0 or kept[-1] >= count or (kept.diff() <= 0).any():
        raise HfpruneError(
            f"{name} of the plan must hold sorted, distinct numbers below {count}, at least one"
        )


def _depth(model: "PreTrainedModel", plan: Plan) -> str:
    depth = len(model.model.layers)
    if "layers" in plan:
        return f"keeps {len(plan['layers'])} of {depth} layers"
    return f"{type(model).__name__} has {depth} layers"


def _layers(plan: Plan, model: "PreTrainedModel") -> Iterable[int]:
    """Return the decoder layers that stay, numbered as in the dense model."""
    return set(plan["layers"].tolist()) if "layers" in plan else range(len(model.model.layers))


@torch.no_grad()
def apply_plan(model: "PreTrainedModel", plan: Plan) -> None:
    """Slice a dense model in place to the kept units, then remove the layers that the plan does not keep.

    The model stores the plan as `kept_units`, for the card of its export; after a second plan it stores None,
    since neither plan says alone what is left of the dense model.

    Raises:
        HfpruneError: the plan does not fit the model, which then does not change.
    """
    units = check_plan(model, plan)
    model.__dict__["kept_units"] = None if "kept_units" in model.__dict__ else plan
    # Layers last: until then they are numbered as in the dense model.
    for name in sorted(plan, key=lambda name: name == "layers"):
        units[name].keep(plan[name])
        if is_on_disk(model):
            move(units[name].linears)
    for name in plan:
        if isinstance(unit := units[name], KeyValueGroups):
            model.config.head_dim = unit.head_dim  # otherwise it would follow from the number of heads
    describe(model.config, layer_sizes(model))
