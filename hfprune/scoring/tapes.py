"""Tapes: hooks that capture activations and gradients, and compute each criterion's share per sequence."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hfprune.criteria import ActivationCriterion, GradientCriterion, LayerCriterion, SweepCriterion
from hfprune.errors import HfpruneError
from hfprune.models.spread import onloaded
from hfprune.models.units import KeyValueGroups, Neurons, Units, attentions, gated_mlps, units_of
from hfprune.scoring.tally import Curve, Tally
from hfprune.scoring.weight_forms import WEIGHT_FORMS, WeightForm, stacked_weights, weight_gradients

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Aggregations of h·∂C/∂h [sequences, length, units] into each sequence's share of a score.
AGGREGATIONS = {
    "sum_abs": lambda products: products.abs_().sum(1),
    "sum_squares": lambda products: products.square_().sum(1),
    "signed_sequence": lambda products: products.sum(1).abs_(),
}


@dataclass
class Lane:
    """One criterion in a pass over the blocks: its units and its statistics so far."""

    criterion: SweepCriterion
    kinds: tuple[str, ...]
    units: Mapping[str, Units]
    form: WeightForm | None
    """The weight form by which the criterion aggregates, if any."""
    fold_of: Sequence[int] | None = None
    """The fold of each sequence (`hfprune.scoring.folds`)."""
    tally: Tally = field(init=False)
    curve: Curve = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tally = Tally([*self.units], self.criterion.combine, self._finish, fold_of=self.fold_of)
        self._layers: dict[int, Tensor] = {}
        if self.form:
            self.tally.dtype = self.form.dtype
            # A statistic as large as the weights: two halves are enough to hold.
            self.tally.folds = [{}, {}]
        if isinstance(self.criterion, GradientCriterion):
            self.tally.in_bfloat16 = self.criterion.accumulator == "bfloat16"

    @classmethod
    def of(
        cls,
        criterion: SweepCriterion,
        model: "PreTrainedModel",
        kinds: Sequence[str],
        fold_of: Sequence[int] | None = None,
    ) -> "Lane":
        """Make the lane in which `criterion` scores these kinds of unit of `model`.

        Raises:
            HfpruneError: `model` does not have a kind.
        """
        form = WEIGHT_FORMS.get(criterion.aggregation) if isinstance(criterion, GradientCriterion) else None
        return cls(criterion, tuple(kinds), units_of(model, kinds), form, fold_of)

    def _finish(self, place: str, statistic: Tensor) -> Tensor:
        units = self.units[place]
        with onloaded(units.linears):
            if self.form:
                statistic = self.form.finish(stacked_weights(cast(Neurons, units)), statistic)
            return self.criterion.finish(units, statistic)

    def add_layer(self, layer: int, rows: Tensor) -> None:
        """Keep the shares [sequences, ...] of one decoder layer until `flush`."""
        self._layers[layer] = rows

    def flush(self, first: int) -> None:
        """Add the shares of all decoder layers of a batch; `first` is the number of its first sequence."""
        if self._layers:
            last = self._layers[max(self._layers)].device
            rows = [self._layers[layer].to(last) for layer in sorted(self._layers)]
            self.tally.add("layers", torch.stack(rows, 1), first)
            self._layers.clear()

    def check_finite(self, sequence: int) -> None:
        """Fail if a statistic is not finite after the batch that begins at `sequence`."""
        # One transfer per criterion and batch, not one per place.
        places = self.tally.places
        sums = [sum(x[place].sum() for x in self.tally.folds if place in x) for place in places]
        finite = [torch.as_tensor(x).isfinite() for x in sums]
        bad = torch.stack([x.to(finite[0].device) for x in finite]).logical_not().cpu()
        if bad.any():
            place = places[int(bad.nonzero()[0])]
            raise HfpruneError(
                f"scores of {type(self.criterion).__name__} are not finite at {place} after the batch at sequence "
                f"{sequence}; try another dtype, and check the model with `hfprune measure perplexity`"
            )


class Tape:
    """Hooks on a model while blocks are read, for the lanes that have not stopped."""

    def __init__(self, model: "PreTrainedModel", lanes: Sequence[Lane]) -> None:
        self.model = model
        self.mlps = gated_mlps(model)
        self.lanes = [*lanes]
        self.scored = {kind for lane in lanes for kind in lane.kinds}
        self.first = 0
        """Number of the first sequence of the batch."""

    def hooks(self) -> Iterator[RemovableHandle]:
        """Register the hooks."""
        raise NotImplementedError

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Hook the model for as long as the block runs."""
        handles = []
        try:
            for handle in self.hooks():
                handles.append(handle)
            yield
        finally:
            for handle in handles:
                handle.remove()


class ActivationTape(Tape):
    """Gives criteria h at the input of every `down_proj`, or the inputs and outputs of decoder layers."""

    def hooks(self) -> Iterator[RemovableHandle]:
        """Hook MLPs and layers, if a lane scores them."""
        if "neurons" in self.scored:
            for mlp in self.mlps:
                yield mlp.down.register_forward_pre_hook(partial(self._neurons, mlp.name))
        if "layers" in self.scored:
            for index, layer in enumerate(self.model.model.layers):
                yield layer.register_forward_hook(partial(self._layer, index))

    def _neurons(self, place: str, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        h = inputs[0].float()
        for lane in self.lanes:
            if isinstance(lane.criterion, ActivationCriterion):
                lane.tally.add(place, lane.criterion.shares(h), self.first)

    def _layer(self, index: int, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        x_in, x_out = inputs[0].to(output.device).float(), output.float()
        for lane in self.lanes:
            if isinstance(lane.criterion, LayerCriterion):
                lane.add_layer(index, lane.criterion.shares(x_in, x_out))


class _Activation(torch.autograd.Function):
    """h = activation(gate) · up; its backward pass gives h, ∂C/∂h, ∂C/∂gate and ∂C/∂up to `record`.

    Autograd would keep gate, up, activation(gate) and h, the largest tensors of a layer. Here only gate and
    up are kept, and h is computed again, which is little work compared with the three linear maps.
    """

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, make: Callable, record: Callable) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.make, ctx.record = make, record
        return make(gate, up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            h = ctx.make(*inputs)
        below = torch.autograd.grad(h, inputs, gradients)
        ctx.record(h.detach(), gradients[0], *below)
        return *below, None, None


class GradientTape(Tape):
    """Gives h and its gradient, or the gradients of weights, to the lanes that share it, `current`."""

    def __init__(
        self, model: "PreTrainedModel", lanes: Sequence[Lane], kept: Mapping[str, Tensor] | None
    ) -> None:
        """Describe a tape.

        Args:
            model: the model to hook.
            lanes: lanes of gradient criteria.
            kept: by place a mask [neurons] of the neurons that stay in the student; the others are zero in the
                forward pass.
        """
        super().__init__(model, lanes)
        self.kept = kept
        self.groups = attentions(model) if "key_value_groups" in self.scored else []
        self.current = self.lanes[:1]
        self.pending: dict[tuple[int, str], Tensor] = {}
        self.by_weights = any(lane.form for lane in lanes)

    def hooks(self) -> Iterator[RemovableHandle]:
        """Hook all MLPs, which then keep less for the backward pass; attention and layers only if scored."""
        for layer, mlp in enumerate(self.mlps):
            yield mlp.down.register_forward_pre_hook(partial(self._forward, layer))
            for name, linear in (("gate", mlp.gate), ("up", mlp.up)):
                yield linear.register_forward_hook(partial(self._keep, layer, name))
            if self.by_weights:
                yield mlp.up.register_forward_pre_hook(partial(self._keep_input, layer))
                yield mlp.down.register_forward_hook(partial(self._watch_output, layer))
        for layer, units in enumerate(self.groups):
            yield units.o.register_forward_pre_hook(partial(self._watch_groups, layer, units))
        if "layers" in self.scored:
            for index, module in enumerate(self.model.model.layers):
                yield module.register_forward_hook(partial(self._watch_layer, index))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Hook the model for as long as the block runs."""
        try:
            with super().recording():
                yield
        finally:
            # An interrupted batch, as when memory runs out, leaves a graph that refers to this tape.
            self.pending.clear()

    @contextmanager
    def unmasked(self) -> Iterator[None]:
        """Run the dense model, the teacher, for as long as the block runs."""
        kept, self.kept = self.kept, None
        try:
            yield
        finally:
            self.kept = kept

    def _keep(
        self, layer: int, name: str, _module: nn.Module, _inputs: tuple[Tensor], output: Tensor
    ) -> None:
        self.pending[layer, name] = output

    def _keep_input(self, layer: int, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.pending[layer, "input"] = inputs[0].detach()

    def _watch_output(self, layer: int, _module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: self.pending.update({(layer, "output"): gradient}))

    def _forward(self, layer: int, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        gate, up = self.pending.pop((layer, "gate")), self.pending.pop((layer, "up"))
        x = self.pending.pop((layer, "input"), None)
        if not torch.is_grad_enabled():
            return (self._make(layer, gate, up),) if self.kept is not None else inputs
        if layer == 0 and not self.groups:
            # No gradient is needed before the first h, so the graph begins here.
            gate, up = gate.detach().requires_grad_(), up.detach().requires_grad_()
        return (_Activation.apply(gate, up, partial(self._make, layer), partial(self._record, layer, x)),)

    def _make(self, layer: int, gate: Tensor, up: Tensor) -> Tensor:
        mlp = self.mlps[layer]
        h = mlp.activation(gate) * up
        return h if self.kept is None else h * self.kept[mlp.name].to(h)

    def _record(
        self, layer: int, x: Tensor | None, h: Tensor, gradient: Tensor, gate: Tensor, up: Tensor
    ) -> None:
        mlp = self.mlps[layer]
        output = self.pending.pop((layer, "output"), None)
        for lane in self._scoring("neurons"):
            if lane.form is None:
                lane.tally.add(mlp.name, _aggregated(lane, _products(lane, h, gradient)), self.first)
                continue
            with onloaded(mlp.linears):
                weights = stacked_weights(mlp)
            gradients = weight_gradients(x, gate, up, h, output)  # type: ignore[arg-type]  # kept for this
            for sequence, g in enumerate(gradients, self.first):
                share = lane.form.share(weights, g.div_(_positions(lane, h.shape[1])))
                lane.tally.add(mlp.name, share.unsqueeze(0), sequence)

    def _scoring(self, kind: str) -> list[Lane]:
        return [lane for lane in self.current if kind in lane.kinds]

    def _watch_groups(
        self, layer: int, units: KeyValueGroups, _module: nn.Module, inputs: tuple[Tensor]
    ) -> tuple[Tensor]:
        (h,) = inputs
        if torch.is_grad_enabled():
            if layer == 0:
                h = h.detach().requires_grad_()  # the graph begins here, before the first MLP
            # detach: a tensor referenced by its own hook would be a cycle that outlives the batch.
            h.register_hook(partial(self._record_groups, units, h.detach()))
        return (h,)

    def _record_groups(self, units: KeyValueGroups, h: Tensor, gradient: Tensor) -> None:
        for lane in self._scoring("key_value_groups"):
            products = _products(lane, h, gradient).unflatten(-1, (units.count, units.channels)).sum(-1)
            lane.tally.add(units.name, _aggregated(lane, products), self.first)

    def _watch_layer(self, layer: int, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if torch.is_grad_enabled():
            x_in = inputs[0].detach().to(output.device)
            output.register_hook(partial(self._record_layer, layer, x_in, output.detach()))

    def _record_layer(self, layer: int, x_in: Tensor, x_out: Tensor, gradient: Tensor) -> None:
        for lane in self._scoring("layers"):
            products = _products(lane, x_out.float() - x_in.float(), gradient).sum(-1, keepdim=True)
            lane.add_layer(layer, _aggregated(lane, products).squeeze(-1))


def _products(lane: Lane, h: Tensor, gradient: Tensor) -> Tensor:
    """Return h·∂C/∂h, float32 [sequences, length, channels]; C is a mean over a sequence's positions."""
    return (h.float() * gradient.float()).div_(_positions(lane, h.shape[1]))


def _aggregated(lane: Lane, products: Tensor) -> Tensor:
    """Return shares [sequences, units] from h·∂C/∂h [sequences, length, units], which is overwritten."""
    return AGGREGATIONS[cast(GradientCriterion, lane.criterion).aggregation](products)


def _positions(lane: Lane, length: int) -> int:
    """Return the number of positions in the mean; it divides float32 values: float16 might underflow."""
    return length - cast(GradientCriterion, lane.criterion).needs_targets
