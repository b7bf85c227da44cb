"""Plans: the kept units by name, which describe a pruned model; make, save, load, check and apply."""

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

# The kept units by name, sorted int64 vectors: `mlp.<layer>` and `attention.<layer>` for every layer that stays,
# and `layers` if layers are removed. Layers have their numbers in the dense model, also in names.
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

    `uniform` and `global` keep the same total of neurons, and the same number of groups in every layer but those
    that are spared. `joint` meets the ratio to half a neuron; scores decide what is removed.

    Args:
        model: the dense model; may be on the meta device.
        scores: one vector [units] by name; names of kinds that are not in `units` are ignored. Units that a
            step before has removed have -inf (`scores_of_dense`).
        ratio: fraction of all parameters.
        units: the kinds to prune, with their shares of the removed parameters or `None`; by default all kinds
            with scores, and the same fraction of each.
        allocation: how many neurons each layer keeps.
        part: of the way to the ratio, for a step of several; see `kept_units`.

    Raises:
        HfpruneError: the ratio or alignment cannot be met, the scores do not fit the model, or they are of
            a step after this part.
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
                f"{name} would keep units that a step before has removed: "
                "the scores are of a later part, of a higher ratio or of other units"
            )
    return plan


def scores_of_dense(left: Mapping[str, Tensor], plan: Plan, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the scores of a pruned model's units under their names in the dense model; a removed unit has -inf.

    A plan that is cut from them is the next plan of the pruned model, composed with `plan` into one of the dense
    model: it keeps none of the removed units, and names the others as the dense model does.

    Args:
        left: scores [units that are left] by name, with the pruned model's numbers of layers.
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
    """Write a plan atomically as safetensors: int32, sorted, under their names.

    `note` says why a requested kind of unit is not cut (`counts.not_applicable`), or "".
    """
    tensors = {name: kept.to("cpu", torch.int32).contiguous() for name, kept in plan.items()}
    save_tensors(path, tensors, provenance, **({"not_applicable": note} if note else {}))


def load_plan(path: Path) -> Plan:
    """Read a plan, its names ordered by kind and layer.

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
        HfpruneError: as `load_plan`.
    """
    with _opened(path) as file:
        return (file.metadata() or {}).get("not_applicable", "")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a plan's file; any failure to read it is reported as a file that holds no plan."""
    if not path.exists():
        raise HfpruneError(f"{path}: no such file")
    text = f"{path}: not a plan; make one with `hfprune plan`"
    with explained(text, Exception), safe_open(path, "pt") as file:
        yield file


def _order(name: str) -> tuple[Kind, int]:
    kind = kind_of(name)
    return kind, 0 if kind == "layers" else layer_of(name)


def same_plan(a: Plan, b: Plan) -> bool:
    """Tell whether two plans keep the same units of the same names."""
    return a.keys() == b.keys() and all(torch.equal(kept, b[name]) for name, kept in a.items())


def check_plan(model: "PreTrainedModel", plan: Plan) -> dict[str, Units]:
    """Check that a plan fits a dense model, and return the model's units of the plan's kinds, by name.

    Raises:
        HfpruneError: a name is missing or not one of the model, or a kept unit does not exist.
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
        raise HfpruneError(f"the plan has {strange[0]}, but {_said(model, plan)}")
    if lacking := [name for name in wanted if name not in plan]:
        raise HfpruneError(f"the plan lacks {lacking[0]}, but {_said(model, plan)}")
    for name, kept in plan.items():
        _check_kept(name, kept, units[name].count)
    return units


def _check_kept(name: str, kept: Tensor, count: int) -> None:
    if not len(kept) or kept[0] < 0 or kept[-1] >= count or (kept.diff() <= 0).any():
        raise HfpruneError(
            f"{name} of the plan must hold sorted, distinct numbers below {count}, at least one"
        )


def _said(model: "PreTrainedModel", plan: Plan) -> str:
    depth, name = len(model.model.layers), type(model).__name__
    return (
        f"keeps {len(plan['layers'])} of {depth} layers" if "layers" in plan else f"{name} has {depth} layers"
    )


def _layers(plan: Plan, model: "PreTrainedModel") -> Iterable[int]:
    """Return the decoder layers that stay, numbered as in the dense model."""
    return set(plan["layers"].tolist()) if "layers" in plan else range(len(model.model.layers))


@torch.no_grad()
def apply_plan(model: "PreTrainedModel", plan: Plan) -> None:
    """Slice a dense model in place to the kept units, then remove the layers that the plan does not keep.

    The model remembers the plan as `kept_units`, for the card of its export; after a second one none, since
    neither says what is left of the dense model.

    Raises:
        HfpruneError: the plan does not fit the model; the model is then unchanged.
    """
    units = check_plan(model, plan)
    model.__dict__["kept_units"] = None if "kept_units" in model.__dict__ else plan
    # Layers last: until then, layers have their numbers in the dense model.
    for name in sorted(plan, key=lambda name: name == "layers"):
        units[name].keep(plan[name])
        if is_on_disk(model):
            move(units[name].linears)
    for name in plan:
        if isinstance(unit := units[name], KeyValueGroups):
            model.config.head_dim = unit.head_dim  # else it would follow from the number of heads
    describe(model.config, layer_sizes(model))
