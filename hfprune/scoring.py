"""The sweep: forward, chunked vocabulary gradient, activation-only backward."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.models import gated_mlps, hidden_states
from hfprune.tally import Curve, Scores, Tally, load_state, marks, save_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hfprune.criterion import GradientCriterion

# Logits of one chunk take 4 bytes × this many; several such buffers live at a time.
CHUNK_LOGITS = 2**25
# How much work a kill may cost.
SAVE_SECONDS = 60


@dataclass(frozen=True)
class Positions:
    """What a criterion may want to know about the n positions of a chunk of logits, besides the logits."""

    targets: Tensor = None  # type: ignore[assignment]  # so that a criterion need not check
    """Next tokens [n]; only with `needs_targets`, which leaves out each sequence's last position."""
    teacher: Tensor = None  # type: ignore[assignment]
    """The dense model's logits [n, vocabulary] at the same positions, float32; only with `needs_teacher`."""


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

        One forward pass serves all criteria; each takes a backward pass of its own, through activations only.

        Args:
            criteria: gradient criteria.
            kept: per layer a mask [neurons] of the neurons that stay in the student; masked ones are zero in the
                forward pass. The teacher, where a criterion wants one, is the same model without the mask.
            name: tells the sweeps of one criterion apart, for `curves` and `state`.

        Returns:
            One list of per-layer scores for each criterion.

        Raises:
            HfpruneError: scores that are not finite; names criterion, layer and batch.
        """
        if self.blocks.max() >= self.model.config.vocab_size:
            raise HfpruneError(
                "the calibration blocks hold tokens that the model does not have: of another model?"
            )
        tape = _Tape(self.model, criteria, kept)
        path = self.state / f"{name}.safetensors" if self.state else None
        done, curve = load_state(path, self.identity, tape.tallies) if path else (0, [])
        saved = time.monotonic()
        with tape.recording(), tqdm(total=len(self.blocks), initial=done, desc=name, unit="sequence") as bar:
            while not self._enough(done, curve):
                batch = self._next_batch(done)
                tape.first = done
                self._one_batch(tape, criteria, batch.to(self.model.device, torch.int64))
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

    def _one_batch(self, tape: "_Tape", criteria: Sequence["GradientCriterion"], tokens: Tensor) -> None:
        teacher = None
        if any(criterion.needs_teacher for criterion in criteria):
            with torch.no_grad(), tape.unmasked():
                teacher = hidden_states(self.model, tokens)
        with torch.enable_grad():
            hidden = hidden_states(self.model, tokens)
        for index, criterion in enumerate(criteria):
            tape.current = index
            gradient = self._hidden_gradient(criterion, hidden.detach(), tokens, teacher)
            hidden.backward(gradient, retain_graph=index + 1 < len(criteria))

    @torch.no_grad()
    def _hidden_gradient(
        self, criterion: "GradientCriterion", hidden: Tensor, tokens: Tensor, teacher: Tensor | None
    ) -> Tensor:
        """Return the gradient of the summed per-sequence means with respect to `hidden` [batch, length, width].

        Goes through the head in chunks of positions, so that no more than a chunk of logits ever exists.
        """
        head = self.model.lm_head
        positions = hidden.shape[1] - 1 if criterion.needs_targets else hidden.shape[1]
        if positions == 0:
            raise HfpruneError("blocks of one token have no next token to score; choose a longer length")
        inputs = hidden[:, :positions].flatten(0, 1)
        targets = tokens[:, 1:].flatten()
        dense = teacher[:, :positions].flatten(0, 1) if teacher is not None else inputs
        result = torch.empty_like(inputs)
        step = self.chunk or max(1, CHUNK_LOGITS // head.out_features)
        for start in range(0, len(inputs), step):
            part = slice(start, start + step)
            logits = head(inputs[part]).float()
            context = Positions()
            if criterion.needs_targets:
                context = replace(context, targets=targets[part])
            if criterion.needs_teacher:
                context = replace(context, teacher=head(dense[part]).float())
            gradient = criterion.gradient(logits, context).div_(positions)
            result[part] = gradient.to(hidden.dtype) @ head.weight
        full = torch.zeros_like(hidden)
        full[:, :positions] = result.unflatten(0, (len(hidden), positions))
        return full


class _Tape:
    """Catches h and its gradient at the input of every `down_proj` and adds up scores in float64."""

    def __init__(
        self, model: "PreTrainedModel", criteria: Sequence["GradientCriterion"], kept: Sequence[Tensor] | None
    ) -> None:
        self.mlps = gated_mlps(model)
        self.criteria = criteria
        self.kept = kept
        self.current = 0
        self.first = 0
        self.tallies = [Tally.zeros([mlp.down.weight[0] for mlp in self.mlps]) for _ in criteria]

    @contextmanager
    def recording(self) -> Iterator[None]:
        handles = [
            mlp.down.register_forward_pre_hook(partial(self._forward, layer))
            for layer, mlp in enumerate(self.mlps)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def unmasked(self) -> Iterator[None]:
        kept, self.kept = self.kept, None
        try:
            yield
        finally:
            self.kept = kept

    def _forward(self, layer: int, _module: torch.nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (h,) = inputs
        if self.kept is not None:
            h = h * self.kept[layer].to(h)
        if torch.is_grad_enabled():
            if layer == 0:
                # Nothing before the first h needs a gradient, so the graph begins here.
                h = h.detach().requires_grad_()
            # detach: a tensor whose own hook held it would be a cycle that outlives the batch.
            h.register_hook(partial(self._backward, layer, h.detach()))
        return (h,)

    def _backward(self, layer: int, h: Tensor, gradient: Tensor) -> None:
        products = h.float() * gradient.float()
        aggregate = AGGREGATIONS[self.criteria[self.current].aggregation]
        self.tallies[self.current].add(layer, aggregate(products), self.first)

    def check_finite(self, sequence: int) -> None:
        # One transfer per criterion and batch, not one per layer.
        for criterion, tally in zip(self.criteria, self.tallies, strict=True):
            bad = torch.stack([scores.isfinite().all().to("cpu") for scores in tally.scores()]).logical_not()
            if bad.any():
                layer = int(bad.nonzero()[0])
                raise HfpruneError(
                    f"scores of {type(criterion).__name__} are not finite in layer {layer} after the batch at "
                    f"sequence {sequence}; try another dtype, and check the model with `hfprune perplexity`"
                )


# Named ways to turn h·∂C/∂h [sequences, length, neurons] into each sequence's share of a score.
AGGREGATIONS = {
    "sum_abs": lambda products: products.abs_().sum(1),
    "sum_squares": lambda products: products.square_().sum(1),
    "signed_sequence": lambda products: products.sum(1).abs_(),
}


def save_scores(path: Path, scores: Scores, provenance: dict[str, Any]) -> None:
    """Write scores atomically as safetensors: `mlp.<layer>`, float64 [neurons].

    Raises:
        HfpruneError: a score is not finite; names the layer.
    """
    for layer, values in enumerate(scores):
        if not values.isfinite().all():
            raise HfpruneError(f"scores of layer {layer} are not finite; nothing was written to {path}")
    tensors = {f"mlp.{i}": values.to("cpu", torch.float64).contiguous() for i, values in enumerate(scores)}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"provenance": json.dumps(provenance)})


def load_scores(path: Path) -> Scores:
    """Read the per-layer scores that `save_scores` wrote.

    Raises:
        HfpruneError: not such a file.
    """
    try:
        tensors = load_file(path)
        return [tensors[f"mlp.{layer}"] for layer in range(len(tensors))]
    except Exception as error:
        raise HfpruneError(f"{path}: not scores; make them with `hfprune score`") from error
