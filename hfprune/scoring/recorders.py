"""Recorders: capture activations and gradients of a model, and compute each criterion's share per sequence."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hfprune.criteria import ActivationCriterion, GradientCriterion, LayerCriterion
from hfprune.models.replacing import forward_replaced
from hfprune.models.units import KeyValueGroups, Neurons, Units, attentions, gated_mlps, units_of
from hfprune.scoring.samples import Scorer
from hfprune.scoring.weight_forms import stacked_weights, weight_gradients
from hfprune.settings.units import layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Aggregations of h·∂C/∂h [sequences, length, units] into each sequence's share of a score.
AGGREGATIONS = {
    "sum_abs": lambda products: products.abs_().sum(1),
    "sum_squares": lambda products: products.square_().sum(1),
    "signed_sequence": lambda products: products.sum(1).abs_(),
}


class ActivationRecorder:
    """Passes h at the inputs of `down_proj` and `o_proj`, or inputs and outputs of layers, to the criteria."""

    def __init__(self, model: "PreTrainedModel", scorers: Sequence[Scorer]) -> None:
        self.model, self.scorers = model, [*scorers]
        self.first = 0
        """Number of the first sequence of the batch."""

    @contextmanager
    def recording(self, only: int | None = None) -> Iterator[None]:
        """Hook the model, or `only` one layer, while the block runs: the scorers get the shares of every batch."""
        kinds = set().union(*(scorer.kinds for scorer in self.scorers))
        with ExitStack() as stack:
            for units in units_of(self.model, kinds - {"layers"}).values():
                if only not in (None, layer_of(units.name)):
                    continue
                hook = units.linears[-1].register_forward_pre_hook(partial(self._inputs, units.name))
                stack.callback(hook.remove)
            for index, layer in enumerate(self.model.model.layers if "layers" in kinds else []):
                if only in (None, index):
                    stack.callback(layer.register_forward_hook(partial(self._layer, index)).remove)
            yield

    def _inputs(self, key: str, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        h = inputs[0].float()
        for scorer in self.scorers:
            if isinstance(scorer.criterion, ActivationCriterion) and key in scorer.units:
                scorer.add(key, scorer.criterion.shares(h), self.first)

    def _layer(self, index: int, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        x_in, x_out = inputs[0].to(output.device).float(), output.float()
        for scorer in self.scorers:
            if isinstance(scorer.criterion, LayerCriterion):
                scorer.add_layer(index, scorer.criterion.shares(x_in, x_out))


class _Activation(torch.autograd.Function):
    """h = activation(gate) · up; its backward pass passes h, ∂C/∂h, ∂C/∂gate and ∂C/∂up to `record`.

    Autograd would keep gate, up, activation(gate) and h, the largest tensors of a layer. Here only gate and up are
    kept, and h is recomputed, which is little work beside the three linear maps.
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


class GradientRecorder:
    """Passes h and its gradient, or the gradients of weights, to the criteria that share a backward pass.

    `kept` maps a key to the mask [neurons] of the MLP neurons that stay in the student.
    """

    def __init__(
        self, model: "PreTrainedModel", scorers: Sequence[Scorer], kept: Mapping[str, Tensor] | None
    ) -> None:
        self.model, self.scorers, self.kept = model, [*scorers], kept
        self.sharing = self.scorers[:1]
        """The scorers that share the current backward pass."""
        self.first = 0
        """Number of the first sequence of the batch."""
        self.kinds = set().union(*(scorer.kinds for scorer in scorers))
        self.mlps = gated_mlps(model)
        scored = {name for scorer in scorers for name in scorer.units}
        self.lowest = 0 if "layers" in scored else min(map(layer_of, scored))
        """The first layer with units to score, where the graph begins: earlier layers need no gradient."""
        self.by_weights = any(scorer.form for scorer in scorers)
        self._waiting: dict[tuple[int, str], list[Tensor]] = {}
        """Shares of the backward passes so far, by scorer and place, for criteria with several passes."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Hook all MLPs, which then keep less for the backward pass; attention and layers only if scored."""
        groups = attentions(self.model)[self.lowest :] if "key_value_groups" in self.kinds else []
        layers = self.model.model.layers if "layers" in self.kinds else []
        with ExitStack() as stack:
            for index, mlp in enumerate(self.mlps):
                stack.enter_context(forward_replaced(mlp.module, partial(self._forward, index)))
            for index, units in enumerate(groups, self.lowest):
                hook = units.o.register_forward_pre_hook(partial(self._watch_groups, index, units))
                stack.callback(hook.remove)
                for hook in self._watch_weights(units) if self.by_weights else ():
                    stack.callback(hook.remove)
            for index, layer in enumerate(layers):
                stack.callback(layer.register_forward_hook(partial(self._watch_layer, index)).remove)
            yield

    @contextmanager
    def unmasked(self) -> Iterator[None]:
        """Let the model run as the dense one, the teacher, while the block runs."""
        kept, self.kept = self.kept, None
        try:
            yield
        finally:
            self.kept = kept

    def _forward(self, layer: int, x: Tensor) -> Tensor:
        mlp = self.mlps[layer]
        gate, up = mlp.gate(x), mlp.up(x)
        make = partial(self._h, mlp)
        if not torch.is_grad_enabled():
            return mlp.down(make(gate, up))
        if layer == self.lowest and "key_value_groups" not in self.kinds:
            gate, up = gate.detach().requires_grad_(), up.detach().requires_grad_()
        inputs = {"x": x.detach()} if self.by_weights else {}
        output = mlp.down(_Activation.apply(gate, up, make, partial(self._record, mlp, inputs)))
        if self.by_weights and output.requires_grad:
            output.register_hook(lambda gradient: inputs.update(output=gradient))
        return output

    def _h(self, mlp: Neurons, gate: Tensor, up: Tensor) -> Tensor:
        h = mlp.activation(gate) * up
        return h if self.kept is None else h * self.kept[mlp.name].to(h)

    def _record(
        self, mlp: Neurons, inputs: dict[str, Tensor], h: Tensor, gradient: Tensor, gate: Tensor, up: Tensor
    ) -> None:
        output = inputs.pop("output", None)
        self._record_products(mlp, h, gradient)
        if output is not None:
            self._record_weights(mlp, inputs["x"], [gate, up], h, output)

    def _record_weights(
        self, units: Units, x: Tensor, outputs: Sequence[Tensor], h: Tensor, output: Tensor
    ) -> None:
        for scorer in self._scoring(units.name):
            if scorer.form is None:
                continue
            weights = stacked_weights(units)
            for sequence, g in enumerate(weight_gradients(x, outputs, h, output, units.count), self.first):
                share = scorer.form.share(weights, g.div_(_positions(scorer, h.shape[1])))
                scorer.add(units.name, share.unsqueeze(0), sequence)

    def _scoring(self, key: str) -> list[Scorer]:
        return [scorer for scorer in self.sharing if key in scorer.units]

    def _watch_groups(
        self, layer: int, units: KeyValueGroups, _module: nn.Module, inputs: tuple[Tensor]
    ) -> tuple[Tensor]:
        (h,) = inputs
        if torch.is_grad_enabled():
            if layer == self.lowest and not self.by_weights:
                h = h.detach().requires_grad_()  # the graph begins here, before the first MLP
            # detach: a tensor referenced by its own hook would be a cycle that outlives the batch.
            h.register_hook(partial(self._record_products, units, h.detach()))
        return (h,)

    def _record_products(self, units: Units, h: Tensor, gradient: Tensor) -> None:
        for scorer in self._scoring(units.name):
            if scorer.form is None:
                shares = _shares(scorer, h, gradient, units.count)
                if (mean := self._over_passes(scorer, units.name, shares)) is not None:
                    scorer.add(units.name, mean, self.first)

    def _watch_weights(self, units: KeyValueGroups) -> list[RemovableHandle]:
        """Hook a layer's projections to collect what the gradients of their weights need."""
        passes: list[dict[str, Tensor]] = []
        """Inputs of the current forward pass; hooks of gradients keep them."""

        def begin(*_: object) -> None:
            passes[:] = [{}]

        def receive(seen: dict[str, Tensor], part: str, gradient: Tensor) -> None:
            seen[part] = gradient
            if seen.keys() >= {*"qkvo"}:
                q, k, v, o = (seen.pop(part) for part in "qkvo")
                self._record_weights(units, seen["x"], [q, k, v], seen["h"], o)

        def watch(part: str, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                passes[-1]["h" if part == "o" else "x"] = inputs[0].detach()
                if not output.requires_grad:  # the graph begins here
                    output = output.detach().requires_grad_()
                output.register_hook(partial(receive, passes[-1], part))
            return output

        linears = zip("qkvo", units.linears, strict=True)
        opened = units.module.register_forward_pre_hook(begin)
        return [opened, *(linear.register_forward_hook(partial(watch, part)) for part, linear in linears)]

    def _watch_layer(self, layer: int, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if torch.is_grad_enabled():
            x_in = inputs[0].detach().to(output.device)
            output.register_hook(partial(self._record_layer, layer, x_in, output.detach()))

    def _record_layer(self, layer: int, x_in: Tensor, x_out: Tensor, gradient: Tensor) -> None:
        for scorer in self._scoring("layers"):
            shares = _shares(scorer, x_out.float() - x_in.float(), gradient, 1)
            if (mean := self._over_passes(scorer, f"layer {layer}", shares.squeeze(-1))) is not None:
                scorer.add_layer(layer, mean)

    def _over_passes(self, scorer: Scorer, place: str, shares: Tensor) -> Tensor | None:
        """Return the mean of a place's shares over the backward passes of a batch; None before the last pass."""
        passes = cast(GradientCriterion, scorer.criterion).backward_passes
        if passes == 1:
            return shares
        key = id(scorer), place
        so_far = self._waiting.setdefault(key, [])
        so_far.append(shares)
        return torch.stack(self._waiting.pop(key)).mean(0) if len(so_far) == passes else None


def _shares(scorer: Scorer, h: Tensor, gradient: Tensor, units: int) -> Tensor:
    # C is a mean over a sequence's positions.
    products = (h.float() * gradient.float()).div_(_positions(scorer, h.shape[1]))
    if products.shape[-1] > units:
        products = products.unflatten(-1, (units, -1)).sum(-1)
    return AGGREGATIONS[cast(GradientCriterion, scorer.criterion).aggregation](products)


def _positions(scorer: Scorer, length: int) -> int:
    """Return the number of positions in the mean, by which float32 values are divided: float16 might underflow."""
    return length - cast(GradientCriterion, scorer.criterion).needs_targets
