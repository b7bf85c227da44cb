"""The sweep: forward, chunked vocabulary gradient, activation-only backward."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from tqdm import tqdm

from hfprune.calibration import derive_seed
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.models import (
    Attention,
    GatedMLP,
    attentions,
    gated_mlps,
    head_chunk,
    hidden_states,
    tensor_names,
)
from hfprune.study import Parts
from hfprune.tally import Curve, Scores, Tally, load_state, marks, save_state
from hfprune.weight_gradients import WEIGHT_FORMS, stacked_weights, weight_gradients

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hfprune.criterion import ActivationCriterion, GradientCriterion, SweepCriterion

# How much work a kill may cost.
SAVE_SECONDS = 60
# A larger state, as of sums of whole weight gradients, takes longer to save than to compute anew.
STATE_BYTES = 2**30


@dataclass(frozen=True)
class Positions:
    """What a criterion may want to know about the n positions of a chunk of logits, besides the logits."""

    targets: Tensor = None  # type: ignore[assignment]  # so that a criterion need not check
    """Next tokens [n]; only with `needs_targets`, which leaves out each sequence's last position."""
    teacher: Tensor = None  # type: ignore[assignment]
    """The dense model's logits [n, vocabulary] at the same positions, float32; only with `needs_teacher`."""
    uniform: Tensor = None  # type: ignore[assignment]
    """A random number in [0, 1) for each position [n], seeded by sequence; only with `needs_uniform`."""


@dataclass(frozen=True)
class Sweep:
    """A frozen model, the calibration blocks it reads, and how many tokens it reads at a time.

    Scores depend on neither `batch_tokens` nor the vocabulary chunks: a criterion is the mean over the
    positions of one sequence, and sequences are summed.
    """

    model: "PreTrainedModel"
    blocks: Tensor
    """Tokens [sequences, length]."""
    seed: int = 0
    batch_tokens: int = 512
    chunk: int = 0
    """Positions whose logits are held at a time; 0 chooses by vocabulary size."""
    parts: Parts = "mlp"
    """What is scored: with attention, key-value groups at the input of `o_proj` as well."""
    until_agreement: float | None = None
    """Stop at the first mark where disjoint halves of the calibration agree so far on what to keep."""
    state: Path | None = None
    """Folder where unfinished sweeps are saved as they go, and from where they go on."""
    identity: str = ""
    """Of model, blocks and settings; a saved sweep of another identity is not gone on with."""
    curves: dict[str, Curve] = field(default_factory=dict)
    """What each sweep learnt on the way: `sequences`, and for each criterion what `Tally.mark` says."""

    def gradient_scores(
        self,
        criteria: Sequence["GradientCriterion"],
        kept: Sequence[Tensor] | None = None,
        name: str = "sweep",
    ) -> list[Scores]:
        """Score every neuron by every criterion in one pass over the blocks (paper, Eq. 4).

        A key-value group's h·∂C/∂h at a token is the sum over its channels: what ablating the whole group changes,
        to first order, as Eq. 2 says of one neuron. Tokens are then aggregated as for neurons.

        One forward pass serves all criteria; each takes a backward pass of its own, through activations only.

        Args:
            criteria: gradient criteria.
            kept: per layer a mask [neurons] of the MLP neurons that stay in the student; masked ones are zero in
                the forward pass. The teacher, where a criterion wants one, is the same model without the mask.
            name: tells the sweeps of one criterion apart, for `curves` and `state`.

        Returns:
            For each criterion the scores of every layer's neurons, then, if asked for, of its groups.

        Raises:
            HfpruneError: scores that are not finite; names criterion, layer and batch.
        """
        tape = _GradientTape(self.model, criteria, kept, self.parts)
        return self._read_blocks(tape, partial(self._one_batch, tape, criteria), name)

    def activation_scores(self, criteria: Sequence["ActivationCriterion"]) -> list[Scores]:
        """Score every neuron by every criterion in one pass over the blocks, without head or gradient.

        Returns:
            One list of per-layer scores for each criterion.

        Raises:
            HfpruneError: as `gradient_scores`.
        """

        @torch.no_grad()
        def forward(tokens: Tensor) -> None:
            hidden_states(self.model, tokens)

        return self._read_blocks(_ActivationTape(self.model, criteria), forward, "sweep")

    def _read_blocks(self, tape: "_Tape", read: Callable[[Tensor], None], name: str) -> list[Scores]:
        """Have `read` read the blocks [batch, length] in order, saving as it goes; return the tape's scores."""
        check_blocks(self.model, self.blocks)
        small = sum(tally.nbytes for tally in tape.tallies) < STATE_BYTES
        path = self.state / f"{name}.safetensors" if self.state and small else None
        done, curve = load_state(path, self.identity, tape.tallies) if path else (0, [])
        saved = time.monotonic()
        with tape.recording(), tqdm(total=len(self.blocks), initial=done, desc=name, unit="sequence") as bar:
            while not self._enough(done, curve):
                batch = self._next_batch(done)
                tape.first = done
                read(batch.to(self.model.device, torch.int64))
                tape.check_finite(done)
                done += len(batch)
                bar.update(len(batch))
                if done in marks(len(self.blocks)):
                    curve.append({"sequences": done, "criteria": [tally.mark() for tally in tape.tallies]})
                if path and (time.monotonic() - saved > SAVE_SECONDS or self._enough(done, curve)):
                    save_state(path, self.identity, done, curve, tape.tallies)
                    saved = time.monotonic()
        self.curves[name] = curve
        return [tally.scores() for tally in tape.tallies]

    def _next_batch(self, done: int) -> Tensor:
        """Return the next blocks, at most to the next mark: where a sweep stops must not depend on its batches."""
        mark = next(mark for mark in marks(len(self.blocks)) if mark > done)
        size = max(1, self.batch_tokens // self.blocks.shape[1])
        return self.blocks[done : min(done + size, mark)]

    def _enough(self, done: int, curve: Curve) -> bool:
        """Tell whether all blocks are read, or a mark was just passed at which all criteria agree."""
        if done == len(self.blocks):
            return True
        if self.until_agreement is None or not curve or curve[-1]["sequences"] != done:
            return False
        return all(found["agreement"] >= self.until_agreement for found in curve[-1]["criteria"])

    def _one_batch(
        self, tape: "_GradientTape", criteria: Sequence["GradientCriterion"], tokens: Tensor
    ) -> None:
        teacher = None
        if any(criterion.needs_teacher for criterion in criteria):
            with torch.no_grad(), tape.unmasked():
                teacher = hidden_states(self.model, tokens)
        with torch.enable_grad():
            hidden = hidden_states(self.model, tokens)
        gradients = self._hidden_gradients(criteria, hidden.detach(), tokens, teacher, tape.first)
        for index, gradient in enumerate(gradients):
            tape.current = index
            hidden.backward(gradient, retain_graph=index + 1 < len(criteria))

    @torch.no_grad()
    def _hidden_gradients(
        self,
        criteria: Sequence["GradientCriterion"],
        hidden: Tensor,
        tokens: Tensor,
        teacher: Tensor | None,
        first: int,
    ) -> list[Tensor]:
        """Return each criterion's gradient, summed over positions, with respect to `hidden`.

        Goes through the head in chunks of positions, so that no more than a chunk of logits ever exists, and
        once for all criteria.

        Args:
            criteria: gradient criteria.
            hidden: last hidden state [batch, length, width].
            tokens: [batch, length].
            teacher: the dense model's last hidden state, if a criterion needs it.
            first: number of the first sequence.
        """
        head = self.model.lm_head
        length = hidden.shape[1]
        if length == 1 and any(criterion.needs_targets for criterion in criteria):
            raise HfpruneError("blocks of one token have no next token to score; choose a longer length")
        # A last position has no next token. It gets any, and below no gradient.
        targets = tokens.roll(-1, 1).flatten()
        uniform = self._uniform(first, *tokens.shape) if any(c.needs_uniform for c in criteria) else None
        results = [torch.empty_like(hidden) for _ in criteria]
        step = self.chunk or head_chunk(self.model)
        for start in range(0, len(targets), step):
            part = slice(start, start + step)
            logits = head(hidden.flatten(0, 1)[part]).float()
            dense = head(teacher.flatten(0, 1)[part]).float() if teacher is not None else None
            drawn = uniform[part] if uniform is not None else None
            positions = Positions(targets[part], dense, drawn)  # type: ignore[arg-type]  # None: nobody looks
            for index, (criterion, result) in enumerate(zip(criteria, results, strict=True)):
                last = index + 1 == len(criteria)
                gradient = criterion.gradient(logits if last else logits.clone(), positions)
                result.flatten(0, 1)[part] = gradient.to(hidden.dtype) @ head.weight
        for criterion, result in zip(criteria, results, strict=True):
            if criterion.needs_targets:
                result[:, -1] = 0
        return results

    def _uniform(self, first: int, sequences: int, length: int) -> Tensor:
        """Return random numbers [sequences · length], each sequence's own whatever batch it comes in."""
        seeds = [derive_seed(self.seed, "uniform", first + i) for i in range(sequences)]
        rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.cat(rows).to(self.model.device)


def check_blocks(model: "PreTrainedModel", blocks: Tensor) -> None:
    """Fail where blocks hold tokens beyond the model's vocabulary.

    Raises:
        HfpruneError: they do.
    """
    if blocks.max() >= model.config.vocab_size:
        raise HfpruneError(
            "the calibration blocks hold tokens that the model does not have: of another model?"
        )


class _Neurons(torch.autograd.Function):
    """h = activation(gate) · up, for a backward pass that hands h and ∂C/∂h, ∂C/∂gate, ∂C/∂up to `record`.

    Of the three factors autograd would hold besides h, only gate and up are; h is computed again. These are
    the largest tensors of a layer, and the product is little work beside the three linear maps.
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


class _Tape:
    """Catches h at the input of every `down_proj`, and `o_proj`, and adds up what the criteria make of it."""

    def __init__(
        self,
        model: "PreTrainedModel",
        criteria: Sequence["SweepCriterion"],
        accumulators: Sequence[str],
        parts: Parts = "mlp",
    ) -> None:
        self.mlps = gated_mlps(model)
        self.attentions = attentions(model) if parts == "mlp+attention" else []
        self.names = [type(criterion).__name__ for criterion in criteria]
        self.first = 0
        self.tallies = [
            Tally.zeros(self._empty(c), accumulator, partial(self._finish, c))
            for c, accumulator in zip(criteria, accumulators, strict=True)
        ]

    def _empty(self, criterion: "SweepCriterion") -> list[Tensor]:
        """Return zero sums of all layers' neurons, then of all layers' groups, as scores are listed."""
        groups = [view.o.weight.new_zeros(view.groups, dtype=torch.float64) for view in self.attentions]
        return [criterion.empty(mlp) for mlp in self.mlps] + groups

    def _finish(self, criterion: "SweepCriterion", index: int, sums: Tensor) -> Tensor:
        return criterion.finish(self.mlps[index], sums) if index < len(self.mlps) else sums

    def _hooks(self, layer: int, mlp: GatedMLP) -> list[RemovableHandle]:
        return [mlp.down.register_forward_pre_hook(partial(self._forward, layer))]

    def _forward(self, layer: int, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        raise NotImplementedError

    @contextmanager
    def recording(self) -> Iterator[None]:
        handles = [handle for layer, mlp in enumerate(self.mlps) for handle in self._hooks(layer, mlp)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def check_finite(self, sequence: int) -> None:
        # One transfer per criterion and batch, not one per layer.
        for name, tally in zip(self.names, self.tallies, strict=True):
            sums = [even.sum() + odd.sum() for even, odd in zip(tally.even, tally.odd, strict=True)]
            bad = torch.stack([x.isfinite().to("cpu") for x in sums]).logical_not()
            if bad.any():
                layer = int(bad.nonzero()[0]) % len(self.mlps)
                raise HfpruneError(
                    f"scores of {name} are not finite in layer {layer} after the batch at sequence {sequence}; "
                    "try another dtype, and check the model with `hfprune perplexity`"
                )


class _ActivationTape(_Tape):
    """Adds up what each criterion makes of h, in a forward pass."""

    def __init__(self, model: "PreTrainedModel", criteria: Sequence["ActivationCriterion"]) -> None:
        super().__init__(model, criteria, ["float64" for _ in criteria])
        self.criteria = criteria

    def _forward(self, layer: int, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        h = inputs[0].float()
        for criterion, tally in zip(self.criteria, self.tallies, strict=True):
            tally.add(layer, criterion.shares(h), self.first)


class _GradientTape(_Tape):
    """Adds up what each criterion makes of h and its gradient, or of the weights' gradients."""

    def __init__(
        self,
        model: "PreTrainedModel",
        criteria: Sequence["GradientCriterion"],
        kept: Sequence[Tensor] | None,
        parts: Parts,
    ) -> None:
        super().__init__(model, criteria, [criterion.accumulator for criterion in criteria], parts)
        self.criteria = criteria
        self.kept = kept
        self.current = 0
        self.pending: dict[tuple[int, str], Tensor] = {}
        self.by_weights = any(criterion.aggregation in WEIGHT_FORMS for criterion in criteria)

    def _hooks(self, layer: int, mlp: GatedMLP) -> list[RemovableHandle]:
        hooks = super()._hooks(layer, mlp)
        for name, linear in (("gate", mlp.gate), ("up", mlp.up)):
            hooks.append(linear.register_forward_hook(partial(self._keep, layer, name)))
        if self.by_weights:
            hooks.append(mlp.up.register_forward_pre_hook(partial(self._keep_input, layer)))
            hooks.append(mlp.down.register_forward_hook(partial(self._watch_output, layer)))
        if self.attentions:
            attention = self.attentions[layer]
            hooks.append(attention.o.register_forward_pre_hook(partial(self._watch_groups, layer, attention)))
        return hooks

    @contextmanager
    def recording(self) -> Iterator[None]:
        try:
            with super().recording():
                yield
        finally:
            # Of a batch cut short, as by a lack of memory: its graph refers to this tape, and so would live on.
            self.pending.clear()

    @contextmanager
    def unmasked(self) -> Iterator[None]:
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
        if layer == 0 and not self.attentions:
            # Nothing before the first h needs a gradient, so the graph begins here.
            gate, up = gate.detach().requires_grad_(), up.detach().requires_grad_()
        return (_Neurons.apply(gate, up, partial(self._make, layer), partial(self._record, layer, x)),)

    def _watch_groups(
        self, layer: int, view: Attention, _module: nn.Module, inputs: tuple[Tensor]
    ) -> tuple[Tensor]:
        (h,) = inputs
        if torch.is_grad_enabled():
            if layer == 0:
                h = h.detach().requires_grad_()  # the graph begins here, before the first MLP
            # detach: a tensor whose own hook held it would be a cycle that outlives the batch.
            h.register_hook(partial(self._record_groups, layer, view, h.detach()))
        return (h,)

    def _record_groups(self, layer: int, view: Attention, h: Tensor, gradient: Tensor) -> None:
        criterion, tally = self.criteria[self.current], self.tallies[self.current]
        products = (h.float() * gradient.float()).div_(h.shape[1] - criterion.needs_targets)
        groups = products.unflatten(-1, (view.groups, view.channels)).sum(-1)
        tally.add(len(self.mlps) + layer, AGGREGATIONS[criterion.aggregation](groups), self.first)

    def _make(self, layer: int, gate: Tensor, up: Tensor) -> Tensor:
        h = self.mlps[layer].activation(gate) * up
        return h if self.kept is None else h * self.kept[layer].to(h)

    def _record(
        self, layer: int, x: Tensor | None, h: Tensor, gradient: Tensor, gate: Tensor, up: Tensor
    ) -> None:
        criterion, tally = self.criteria[self.current], self.tallies[self.current]
        output = self.pending.pop((layer, "output"), None)
        # A criterion is the mean over a sequence's positions. Only here, where no float16 can underflow.
        positions = h.shape[1] - criterion.needs_targets
        if criterion.aggregation in AGGREGATIONS:
            products = (h.float() * gradient.float()).div_(positions)
            tally.add(layer, AGGREGATIONS[criterion.aggregation](products), self.first)
        else:
            form, weights = WEIGHT_FORMS[criterion.aggregation], stacked_weights(self.mlps[layer])
            gradients = weight_gradients(x, gate, up, h, output)  # type: ignore[arg-type]  # kept for this
            for sequence, g in enumerate(gradients, self.first):
                tally.add(layer, form.share(weights, g.div_(positions)).unsqueeze(0), sequence)


# Named ways to turn h·∂C/∂h [sequences, length, neurons] into each sequence's share of a score.
AGGREGATIONS = {
    "sum_abs": lambda products: products.abs_().sum(1),
    "sum_squares": lambda products: products.square_().sum(1),
    "signed_sequence": lambda products: products.sum(1).abs_(),
}


def save_scores(path: Path, scores: Scores, provenance: dict[str, Any], parts: Parts = "mlp") -> None:
    """Write scores atomically as safetensors, float64: `mlp.<layer>` [neurons], `attention.<layer>` [groups].

    Raises:
        HfpruneError: a score is not finite; names the layer.
    """
    named = dict(zip(tensor_names(parts, len(scores)), scores, strict=True))
    for name, values in named.items():
        if not values.isfinite().all():
            raise HfpruneError(f"scores {name} are not finite; nothing was written to {path}")
    tensors = {name: values.to("cpu", torch.float64).contiguous() for name, values in named.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"provenance": json.dumps(provenance)})


def load_scores(path: Path, parts: Parts = "mlp") -> Scores:
    """Read the scores of `parts` that `save_scores` wrote; those of other parts are left out.

    Raises:
        HfpruneError: not such a file, or not of all parts.
    """
    try:
        tensors = load_file(path)
        wanted = [name for name in tensors if name.split(".")[0] in parts.split("+")]
        return [tensors[name] for name in tensor_names(parts, len(wanted))]
    except Exception as error:
        made = f"make them with `hfprune score --parts {parts}`"
        raise HfpruneError(f"{path}: not scores of {parts}; {made}") from error
