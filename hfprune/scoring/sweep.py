"""The sweep over calibration blocks: forward, gradient of logits in chunks, backward to activations."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from tqdm import tqdm

from hfprune.criteria import GradientCriterion, Positions, SweepCriterion, by_gradient
from hfprune.errors import HfpruneError
from hfprune.models.head import back_to_hidden, before_transform, chunks, hidden_states, logits, pieces
from hfprune.models.meter import count_backward
from hfprune.models.spread import recomputed
from hfprune.scoring.tally import load_state, marks, save_state
from hfprune.scoring.tapes import ActivationTape, GradientTape, Lane, Tape
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Seconds of work that a kill may lose.
SAVE_SECONDS = 60
# A larger state, such as sums of weight gradients, takes longer to save than to compute again.
STATE_BYTES = 2**30


@dataclass(frozen=True)
class Sweep:
    """A frozen model, the calibration blocks it reads, and the settings of a pass.

    Scores do not depend on `batch_tokens` or `chunk`: each sequence has its own statistic, and an objective
    is the mean over the positions of one sequence. Nor do they depend on the lanes that share a pass.
    """

    model: "PreTrainedModel"
    blocks: Tensor
    """Tokens [sequences, length]."""
    fold_of: Sequence[int]
    """The fold of each sequence (`hfprune.scoring.folds`)."""
    seed: int = 0
    batch_tokens: int = 512
    chunk: int = 0
    """Positions whose logits are held at a time; 0 chooses by vocabulary size."""
    until_agreement: float | None = None
    """A lane stops at the first mark where two halves of its sequences agree on this share of kept units."""
    state: Path | None = None
    """Folder where unfinished passes are saved regularly, and from which they resume."""
    identity: str = ""
    """Identifies model, blocks and settings; a saved pass of another identity is not used."""

    def lane(self, criterion: SweepCriterion, kinds: Sequence[str]) -> Lane:
        """Make the lane in which `criterion` scores these kinds of unit."""
        return Lane.of(criterion, self.model, kinds, self.fold_of)

    def activations(self, lanes: Sequence[Lane]) -> None:
        """Read the blocks once for all lanes, without head or gradient.

        Raises:
            HfpruneError: a statistic is not finite; names criterion, place and batch.
        """
        tape = ActivationTape(self.model, lanes)

        @torch.no_grad()
        def forward(tokens: Tensor) -> None:
            hidden_states(self.model, tokens)
            for lane in tape.lanes:
                lane.flush(tape.first)

        self._read_blocks(tape, forward, "activations")

    def gradients(
        self, lanes: Sequence[Lane], name: str = "gradients", kept: Mapping[str, Tensor] | None = None
    ) -> None:
        """Read the blocks once for all lanes (paper, Eq. 4): one forward pass, a backward pass per gradient.

        A key-value group's h·∂C/∂h at a token is the sum over its channels, and a layer's is
        (x_out - x_in)·∂C/∂x_out: to first order, the effect of ablating the whole unit, as in Eq. 2 for one
        neuron. Tokens are then aggregated as for neurons.

        Args:
            lanes: lanes of gradient criteria.
            name: name of the pass, for `state`.
            kept: by place a mask [neurons] of the MLP neurons that stay in the student; the others are zero
                in the forward pass. The teacher, if a criterion needs one, is the same model without the
                mask.

        Raises:
            HfpruneError: as `activations`, or blocks have one token where a criterion needs the next token.
        """
        tape = GradientTape(self.model, lanes, kept)
        with recomputed(self.model):
            self._read_blocks(tape, partial(self._one_batch, tape), name)

    def _read_blocks(self, tape: Tape, read: Callable[[Tensor], None], name: str) -> None:
        """Call `read` on the blocks in order, in batches [batch, length], and save the state regularly."""
        check_blocks(self.model, self.blocks)
        lanes = [*tape.lanes]
        path = self.state / f"{name}.safetensors" if self.state else None
        # With another set of lanes, the statistics of one criterion must not be restored as another's.
        identity = (
            f"{self.identity} {[(lane.criterion, lane.criterion.version, lane.kinds) for lane in lanes]}"
        )
        done, total = self._restore(path, identity, lanes), len(self.blocks)
        saved = time.monotonic()
        with tape.recording(), tqdm(total=total, initial=done, desc=name, unit="sequence") as bar:
            while done < total and (reading := [lane for lane in lanes if not self._agreed(lane)]):
                tape.lanes, tape.first = reading, done
                batch = self._next_batch(done)
                read(batch.to(self.model.device, torch.int64))
                for lane in reading:
                    lane.check_finite(done)
                done += len(batch)
                bar.update(len(batch))
                if done in marks(total):
                    for lane in reading:
                        lane.curve.append({"sequences": done} | lane.tally.mark())
                over = done == total or all(map(self._agreed, lanes))
                if path and (over or time.monotonic() - saved > SAVE_SECONDS):
                    self._save(path, identity, done, lanes)
                    saved = time.monotonic()

    def _agreed(self, lane: Lane) -> bool:
        """Tell whether a lane has stopped, because its halves agreed at the last mark."""
        return bool(
            self.until_agreement is not None
            and lane.curve
            and lane.curve[-1]["agreement"] >= self.until_agreement
        )

    def _restore(self, path: Path | None, identity: str, lanes: list[Lane]) -> int:
        """Restore the lanes of an unfinished pass and return the number of sequences already read."""
        if path is None:
            return 0
        devices = {place: units.device for lane in lanes for place, units in lane.units.items()}
        done, curves = load_state(path, identity, [lane.tally for lane in lanes], devices)
        for lane, curve in zip(lanes, curves, strict=bool(done)):
            lane.curve = curve
        return done

    def _save(self, path: Path, identity: str, done: int, lanes: list[Lane]) -> None:
        tallies = [lane.tally for lane in lanes]
        if sum(x.nbytes for tally in tallies for x in tally.state().values()) < STATE_BYTES:
            save_state(path, identity, done, tallies, [lane.curve for lane in lanes])

    def _next_batch(self, done: int) -> Tensor:
        """Return the next blocks, up to the next mark: a lane's stop must not depend on the batch size."""
        mark = next(mark for mark in marks(len(self.blocks)) if mark > done)
        size = max(1, self.batch_tokens // self.blocks.shape[1])
        return self.blocks[done : min(done + size, mark)]

    def _one_batch(self, tape: GradientTape, tokens: Tensor) -> None:
        criteria = [cast(GradientCriterion, lane.criterion) for lane in tape.lanes]
        teacher = None
        if any(criterion.needs_teacher for criterion in criteria):
            with torch.no_grad(), tape.unmasked():
                teacher = hidden_states(self.model, tokens)
        with torch.enable_grad():
            hidden = hidden_states(self.model, tokens)
        read = tokens.to(hidden.device)
        groups = by_gradient(criteria)
        different = [criteria[group[0]] for group in groups]
        gradients = self._hidden_gradients(different, hidden.detach(), read, teacher, tape.first)
        for index, (group, gradient) in enumerate(zip(groups, gradients, strict=True), 1):
            tape.current = [tape.lanes[place] for place in group]
            hidden.backward(gradient, retain_graph=index < len(groups))
            forms = sum(lane.form is not None for lane in tape.current)
            count_backward(self.model, tokens, from_attention=bool(tape.groups), forms=forms)
            for lane in tape.current:
                lane.flush(tape.first)

    @torch.no_grad()
    def _hidden_gradients(
        self,
        criteria: Sequence[GradientCriterion],
        hidden: Tensor,
        tokens: Tensor,
        teacher: Tensor | None,
        first: int,
    ) -> list[Tensor]:
        """Return each criterion's gradient, summed over positions, with respect to `hidden`.

        The head runs once for all criteria, in chunks of positions, so that only one chunk of logits exists
        at a time.

        Args:
            criteria: gradient criteria.
            hidden: last hidden state [batch, length, width].
            tokens: [batch, length].
            teacher: the dense model's last hidden state, if a criterion needs it.
            first: number of the first sequence.
        """
        if hidden.shape[1] == 1 and any(criterion.needs_targets for criterion in criteria):
            raise HfpruneError("blocks of one token have no next token to score; choose a longer length")
        # The last position has no next token: its target is arbitrary, and its gradient is set to zero below.
        targets = tokens.roll(-1, 1).flatten()
        drawn = any(criterion.needs_uniform for criterion in criteria)
        uniform = self._uniform(first, *tokens.shape).to(hidden.device) if drawn else None
        results = [torch.empty_like(hidden) for _ in criteria]
        for part, found in chunks(self.model, hidden.flatten(0, 1), None, self.chunk):
            dense = logits(self.model, teacher.flatten(0, 1)[part]) if teacher is not None else None
            given = targets[part], dense, uniform[part] if uniform is not None else None
            for criterion, result in zip(criteria, results, strict=True):
                gradient = self._logit_gradient(criterion, found, *given)
                result.flatten(0, 1)[part] = back_to_hidden(self.model, gradient)
        for criterion, result in zip(criteria, results, strict=True):
            if criterion.needs_targets:
                result[:, -1] = 0
        return results

    def _logit_gradient(
        self,
        criterion: GradientCriterion,
        found: Tensor,
        targets: Tensor,
        teacher: Tensor | None,
        uniform: Tensor | None,
    ) -> Tensor:
        """Return one criterion's gradient with respect to the head's linear output [n, vocabulary].

        Args:
            criterion: the criterion.
            found: logits [n, vocabulary] in the model's dtype, like the gradient.
            targets: next tokens [n].
            teacher: the dense model's logits, if there is a teacher.
            uniform: random numbers [n], if a criterion needs them.
        """
        gradient = torch.empty_like(found)
        for rows in pieces(found):
            single = found[rows].float()
            positions = Positions(
                targets[rows] if criterion.needs_targets else None,
                teacher[rows].float() if teacher is not None and criterion.needs_teacher else None,
                uniform[rows] if uniform is not None and criterion.needs_uniform else None,
            )
            # A copy, since a soft-capped head still needs the logits.
            by_logits = criterion.gradient(single.clone(), positions)
            gradient[rows] = before_transform(self.model, single, by_logits)
        return gradient

    def _uniform(self, first: int, sequences: int, length: int) -> Tensor:
        """Return random numbers [sequences · length]; a sequence's numbers do not depend on its batch."""
        seeds = [derive_seed(self.seed, "uniform", first + i) for i in range(sequences)]
        rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.cat(rows)


def check_blocks(model: "PreTrainedModel", blocks: Tensor) -> None:
    """Check the blocks' tokens against the model's vocabulary.

    Raises:
        HfpruneError: a token is not in the vocabulary.
    """
    if blocks.max() >= model.config.vocab_size:
        raise HfpruneError(
            "the calibration blocks hold tokens that the model does not have: are they of another model?"
        )
