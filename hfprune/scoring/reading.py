"""Passes over calibration blocks: forward, gradients of logits in chunks, backward to activations."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm, trange

from hfprune.criteria import GradientCriterion, Positions, SearchCriterion, by_gradient
from hfprune.errors import HfpruneError
from hfprune.models.head import (
    back_to_hidden,
    before_transform,
    check_blocks,
    chunks,
    hidden_states,
    logits,
    pieces,
)
from hfprune.models.layerwise import read_layers
from hfprune.models.on_disk import is_on_disk
from hfprune.models.units import Units
from hfprune.provenance import save_tensors, unfinished
from hfprune.scoring.recorders import ActivationRecorder, GradientRecorder
from hfprune.scoring.samples import Scorer
from hfprune.scoring.saved_state import restore_state, save_state
from hfprune.scoring.score_files import Scores
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Seconds of work that a kill may lose.
SAVE_SECONDS = 60


@dataclass(frozen=True)
class Sweep:
    """A frozen model, the calibration blocks it reads, and the settings of a pass.

    Scores do not depend on `batch_tokens` or the head's chunks: each sequence has its own statistic, and an
    objective is the mean over the positions of one sequence. Nor do they depend on the criteria that share a pass.
    """

    model: "PreTrainedModel"
    blocks: Tensor
    """Tokens [sequences, length]."""
    seed: int = 0
    batch_tokens: int = 512
    state: Path | None = None
    """Folder where unfinished passes are saved regularly, and from which they resume."""
    identity: str = ""
    """Identifies model, blocks and settings; a saved pass of another identity is not used."""

    def activations(self, scorers: Sequence[Scorer]) -> None:
        """Read the blocks once for all criteria, without head or gradient; errors are those of `gradients`."""
        recorder = ActivationRecorder(self.model, scorers)
        if is_on_disk(self.model):
            return self._read_by_layer(recorder)
        with torch.no_grad():
            self._read_blocks(recorder, partial(hidden_states, self.model), "activations")

    def gradients(
        self, scorers: Sequence[Scorer], name: str = "gradients", kept: Mapping[str, Tensor] | None = None
    ) -> None:
        """Read the blocks once for all criteria (paper, Eq. 4): one forward pass, a backward pass per gradient.

        A key-value group's h·∂C/∂h at a token is the sum over its channels, and a layer's is
        (x_out - x_in)·∂C/∂x_out: to first order, the effect of ablating the whole unit, as in Eq. 2 for one
        neuron. Tokens are then aggregated as for neurons.

        Args:
            scorers: scorers of gradient criteria.
            name: name of the pass, for `state`.
            kept: key → mask [neurons] of the MLP neurons that stay in the student; the others are zero in the
                forward pass. The teacher, if a criterion needs one, is the same model without the mask.

        Raises:
            HfpruneError: a statistic is not finite (names criterion, key and batch), or blocks have one token
                where a criterion needs the next one.
        """
        recorder = GradientRecorder(self.model, scorers, kept)
        self._read_blocks(recorder, partial(self._one_batch, recorder), name)

    @torch.no_grad()
    def search(self, criterion: SearchCriterion, units: Mapping[str, Units], name: str) -> Scores:
        """Return the scores of the units by a search, which reads the blocks as often as it needs.

        `name` is the name of the search in `state`, where all that it yields is saved.

        Raises:
            HfpruneError: the blocks are from another model, or the model's numbers are not finite.
        """
        check_blocks(self.model, self.blocks)
        path = self.state / f"search-{name}.safetensors" if self.state else None
        identity = f"{self.identity} {criterion!r} {criterion.version} {[*units]}"
        saved = load_file(path) if path and unfinished(path, identity) else {}
        blocks = self.blocks.to(self.model.device, torch.int64)
        batches = blocks.split(max(1, self.batch_tokens // blocks.shape[1]))
        for place, scores in criterion.search(self.model, units, batches, saved):
            saved[place] = scores.cpu()
            if path:
                save_tensors(path, saved, identity=identity)
        return {place: saved[place] for place in units}

    def _read_blocks(
        self, recorder: ActivationRecorder | GradientRecorder, read: Callable[[Tensor], object], name: str
    ) -> None:
        """Call `read` on the blocks in order, in batches [batch, length], and save the state regularly."""
        check_blocks(self.model, self.blocks)
        scorers, total = recorder.scorers, len(self.blocks)
        path, identity = self._saved(name, scorers)
        done, _ = restore_state(path, identity, scorers)
        stops = marks(total)
        blocks = self.blocks.to(self.model.device)
        saved = time.monotonic()
        with recorder.recording(), tqdm(total=total, initial=done, desc=name, unit="sequence") as bar:
            while done < total:
                recorder.first = done
                batch = blocks[done : self._end(done)]
                read(batch.to(torch.int64))
                for scorer in scorers:
                    scorer.flush(done)
                done += len(batch)
                bar.update(len(batch))
                due = path is not None and time.monotonic() - saved > SAVE_SECONDS
                if done in stops or due:
                    for scorer in scorers:
                        scorer.check()
                if done in stops:
                    for scorer in scorers:
                        scorer.mark(done)
                if path and (done == total or due):
                    save_state(path, identity, done, scorers)
                    saved = time.monotonic()

    def _saved(self, name: str, scorers: Sequence[Scorer]) -> tuple[Path | None, str]:
        """Return the file of a pass's state and the identity of the pass."""
        # With another set of criteria, the statistics of one must not be restored as another's.
        about = [
            (scorer.criterion, scorer.criterion.version, [*scorer.units], scorer.reads())
            for scorer in scorers
        ]
        return self.state and self.state / f"{name}.safetensors", f"{self.identity} {about}"

    def _end(self, start: int) -> int:
        """Return the end of the batch that begins at `start`: at a mark at the latest, for curves' sake."""
        total, length = self.blocks.shape
        mark = next(mark for mark in marks(total) if mark > start)
        return min(start + max(1, self.batch_tokens // length), mark)

    def _read_by_layer(self, recorder: ActivationRecorder) -> None:
        """Let each layer read all batches before the next layer does, so that each weight is read from disk once.

        In memory are the states between layers. A curve has its last mark alone.
        """
        check_blocks(self.model, self.blocks)
        scorers, total = recorder.scorers, len(self.model.model.layers)
        path, identity = self._saved("layers", scorers)
        identity += f" {self.batch_tokens}"  # of the states
        done, states = restore_state(path, identity, scorers)
        saved = time.monotonic()
        for layer in trange(done, total, initial=done, total=total, desc="activations", unit="layer"):
            with recorder.recording(layer):
                first = 0
                while first < len(self.blocks):
                    recorder.first, end = first, self._end(first)
                    part = range(layer, layer + 1)
                    batch = self.blocks[first:end]
                    _, states[first] = read_layers(self.model, batch, part, states.get(first), ())
                    first = end
            if path and layer + 1 < total and time.monotonic() - saved > SAVE_SECONDS:
                for scorer in scorers:
                    scorer.check(partly=True)
                save_state(path, identity, layer + 1, scorers, states)
                saved = time.monotonic()
        for scorer in scorers:
            scorer.flush(0)
            scorer.check()

    def _one_batch(self, recorder: GradientRecorder, tokens: Tensor) -> None:
        criteria = [cast(GradientCriterion, scorer.criterion) for scorer in recorder.scorers]
        teacher = None
        if any(criterion.needs_teacher for criterion in criteria):
            with torch.no_grad(), recorder.unmasked():
                teacher = hidden_states(self.model, tokens)
        with torch.enable_grad():
            hidden = hidden_states(self.model, tokens)
        passes = [
            (group, label)
            for group in by_gradient(criteria)
            for label in range(criteria[group[0]].backward_passes)
        ]
        objectives = [(criteria[group[0]], label) for group, label in passes]
        at_head = tokens.to(hidden.device)
        gradients = self._hidden_gradients(objectives, hidden.detach(), at_head, teacher, recorder.first)
        for index, ((group, _), gradient) in enumerate(zip(passes, gradients, strict=True), 1):
            recorder.sharing = [recorder.scorers[number] for number in group]
            hidden.backward(gradient, retain_graph=index < len(passes))

    @torch.no_grad()
    def _hidden_gradients(
        self,
        passes: Sequence[tuple[GradientCriterion, int]],
        hidden: Tensor,
        tokens: Tensor,
        teacher: Tensor | None,
        first: int,
    ) -> list[Tensor]:
        """Return the gradient with respect to `hidden` [batch, length, width] of each criterion and label.

        The head runs once for all of them, in chunks of positions, so that only one chunk of logits exists
        at a time. A criterion may need the dense model's last hidden state, `teacher`; `first` is the number of
        the first sequence.
        """
        if hidden.shape[1] == 1 and any(criterion.needs_targets for criterion, _ in passes):
            raise HfpruneError("blocks of one token have no next token to score; choose a longer length")
        # The last position has no next token: its target is arbitrary, and its gradient is set to zero below.
        targets = tokens.roll(-1, 1).flatten()
        labels = {label for criterion, label in passes if criterion.needs_uniform}
        drawn = {
            label: self._uniform(first, len(tokens), tokens.shape[1], label).to(hidden.device)
            for label in labels
        }
        results = [torch.empty_like(hidden) for _ in passes]
        for part, chunk in chunks(self.model, hidden.flatten(0, 1), None):
            given = {"targets": targets[part]}
            if teacher is not None:
                given["teacher"] = logits(self.model, teacher.flatten(0, 1)[part])
            for (criterion, label), result in zip(passes, results, strict=True):
                if label in drawn:
                    given["uniform"] = drawn[label][part]
                gradient = self._logit_gradient(criterion, chunk, given)
                result.flatten(0, 1)[part] = back_to_hidden(self.model, gradient)
        for (criterion, _), result in zip(passes, results, strict=True):
            if criterion.needs_targets:
                result[:, -1] = 0
        return results

    def _logit_gradient(
        self, criterion: GradientCriterion, chunk: Tensor, given: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the gradient [n, vocabulary] with respect to the head's linear output, in the model's dtype."""
        gradient = torch.empty_like(chunk)
        needed = {name: x for name, x in given.items() if getattr(criterion, f"needs_{name}")}
        for rows in pieces(chunk):
            single = chunk[rows].float()
            positions = Positions(
                **{name: x[rows].float() if name == "teacher" else x[rows] for name, x in needed.items()}
            )
            # A copy, since a soft-capped head still needs the logits.
            by_logits = criterion.gradient(single.clone(), positions)
            gradient[rows] = before_transform(self.model, single, by_logits)
        return gradient

    def _uniform(self, first: int, sequences: int, length: int, label: int) -> Tensor:
        """Return random numbers [sequences · length] for a label; a sequence's do not depend on its batch."""
        suffix = [label] if label else []
        seeds = [derive_seed(self.seed, "uniform", first + i, *suffix) for i in range(sequences)]
        rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.cat(rows)


def marks(total: int) -> list[int]:
    """Return the sequence counts of the marks: 8, each next count larger by half, and finally `total`."""
    counts = []
    mark = 8
    while mark < total:
        counts.append(mark)
        mark += mark // 2
    return [*counts, total]
