"""What a job does: operations, traffic and memory, from a model's shape and what the job reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING

from hfprune.criteria import Criterion, GradientCriterion, by_gradient
from hfprune.devices.batches import batch_tokens as default_tokens
from hfprune.devices.batches import head_positions, training_tokens
from hfprune.models.shape import BYTES, Shape
from hfprune.scoring.passes import SUMS_SHARE, GradientPass, gradient_passes, layer_parts, sums_bytes

if TYPE_CHECKING:
    from hfprune.recovery.options import Linear, Lora

# Passes over float32 logits, each of which reads or writes them once; measured on a CPU, where slices stay in the
# cache (`hfprune.models.head.pieces`) and most passes are cheap. A GPU makes three times as many, at a hundredth.
SOFTMAX, GRADIENT, DISTANCES = 3, 3, 6


@dataclass(frozen=True)
class Work:
    """What a job does on its device. Jobs add up, except their memory, of which the larger counts."""

    flops: float = 0
    """Operations of matrix products in the dtype of the model."""
    single: float = 0
    """Operations of matrix products that are in float32 in any case."""
    moved: float = 0
    """Bytes that all else reads and writes: element-wise passes, softmaxes, the weights at each decoding step."""
    calls: float = 0
    """Calls of a decoder layer, forward and backward, each of which costs the interpreter time."""
    loaded: float = 0
    """Bytes of weights that are read from disk."""
    memory: float = 0
    """Peak of memory on the device in bytes, weights included."""

    def __add__(self, other: "Work") -> "Work":
        parts = zip(astuple(self), astuple(other), strict=True)
        return replace(Work(*map(sum, parts)), memory=max(self.memory, other.memory))

    def __mul__(self, times: float) -> "Work":
        return replace(Work(*(times * part for part in astuple(self))), memory=self.memory)


@dataclass(frozen=True)
class Case:
    """A model in a dtype on a kind of device, with the defaults that the commands have there."""

    shape: Shape
    """The model that is measured."""
    dtype: str
    on_gpu: bool
    room: float
    """Bytes of memory on the device."""
    dense: Shape | None = None
    """The dense model, if the measured one is pruned or recovered."""
    resamples: int = 0
    """Resampled plans on which it is measured too, as masks on the dense model."""
    criterion: Criterion | None = None
    """For measures of scoring."""
    length: int = 0
    """Tokens of a calibration sequence, for measures of scoring."""
    units: tuple[str, ...] = ("neurons",)

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return BYTES[self.dtype]

    def batch(self, length: float, batch_tokens: int | None) -> float:
        """Return the tokens of a forward pass, in whole sequences."""
        return max(1, (batch_tokens or default_tokens(on_gpu=self.on_gpu)) // length) * length

    def logits(self, shape: Shape) -> float:
        """Return the bytes of one float32 chunk of logits."""
        return 4 * head_positions(shape.vocabulary, on_gpu=self.on_gpu) * shape.vocabulary

    def load(self) -> Work:
        """Return the work of loading the dense model, which is then cut."""
        weights = (self.dense or self.shape).weights(self.width)
        return Work(loaded=weights, memory=weights)

    def read(
        self,
        sequences: float,
        length: float,
        positions: float,
        *,
        shape: Shape | None = None,
        passes: float = SOFTMAX,
        batch_tokens: int | None = None,
        pairs: float | None = None,
    ) -> Work:
        """Return the work of forward passes.

        Args:
            sequences: number of sequences.
            length: tokens of each.
            positions: positions of each whose logits are computed.
            shape: the model, by default the measured one.
            passes: passes over the logits.
            batch_tokens: tokens of one forward pass; None: the default of the device.
            pairs: pairs of tokens a token, by default its sequence.
        """
        model = shape or self.shape
        tokens, predicted = sequences * length, sequences * positions
        batch = self.batch(length, batch_tokens)
        layer = batch * self.width * (3 * model.neurons + 4 * model.hidden)
        return Work(
            flops=model.forward(tokens, tokens * min(pairs or length, max(2048, batch)), predicted),
            moved=tokens * model.layers * activations(model, self.width)
            + 4 * passes * predicted * model.vocabulary,
            calls=model.layers * max(1, tokens / batch),
            # At a time live what an MLP makes, beside four copies of the hidden states; later, a chunk of logits
            # with what is made of it.
            memory=model.weights(self.width) + max(layer, 3 * self.logits(model) * bool(positions)),
        )

    def decode(self, rounds: float, batch: int, prompt: int, steps: int, shape: Shape | None = None) -> Work:
        """Return the work of decoding `steps` tokens for each of `batch` prompts: every step reads all weights."""
        model = shape or self.shape
        tokens, mean = batch * steps, prompt + steps / 2
        cache = tokens * mean * model.cache(self.width)
        return Work(
            flops=rounds * model.forward(tokens, tokens * mean, tokens),
            moved=rounds * (steps * model.weights(self.width) + cache),
            calls=rounds * steps * model.layers,
            memory=model.weights(self.width) + 2 * batch * (prompt + steps) * model.cache(self.width),
        )

    # --- scoring and recovery -----------------------------------------------------------------------------

    def score(
        self,
        criteria: Mapping[str, Criterion],
        sequences: float,
        length: int,
        units: Sequence[str],
        batch_tokens: int | None = None,
    ) -> Work:
        """Return the work of scoring by several criteria that share passes (`hfprune.scoring.scored`)."""
        by_weights = any(criterion.needs == "weights" for criterion in criteria.values())
        total = Work(moved=2 * self.shape.weights(4)) if by_weights else Work()
        if readers := [item for item in criteria.values() if item.needs == "activations"]:
            total += self.read(sequences, length, 0, batch_tokens=batch_tokens)
            # Each takes some ten passes in float32 over every activation.
            of_each = 40 * sequences * length * self.shape.layers * self.shape.neurons
            total += Work(moved=of_each * sum("neurons" in item.scorable() for item in readers))
        batch = self.fitting(criteria, length, units, batch_tokens) * length
        for item in gradient_passes(criteria, tuple(units)):
            total += self._gradients(item, sequences, length, units, batch)
        return total

    def _gradients(
        self,
        item: GradientPass,
        sequences: float,
        length: int,
        units: Sequence[str],
        batch_tokens: int,
    ) -> Work:
        model, tokens = self.shape, sequences * length
        criteria = [criterion for criterion, _ in item.criteria.values()]
        number, forms = len(by_gradient(criteria)), sum(form_of(criterion) for criterion in criteria)
        models = 1 + bool(item.start)
        once = self.read(sequences, length, length, passes=GRADIENT * number, batch_tokens=batch_tokens)
        # A backward pass moves about what a forward pass moves, and float32 products of every neuron.
        moved = tokens * (activations(model, self.width) + 16 * model.neurons)
        # The gradients of a layer's weights are written for every sequence and read for its share.
        of_weights = sequences * model.layers * self._scored_weights(item) * (2 * self.width + 6 * 4)
        weights = forms * 2 * tokens * model.layers * self._scored_weights(item)
        total = Work(flops=weights, moved=forms * of_weights)
        for part in self._parts(item):
            above = replace(model, layers=model.layers - part.start)
            back = number * above.backward(
                tokens, tokens * length, from_attention="key_value_groups" in units
            )
            work = replace(once, flops=models * once.flops, calls=(models + number) * once.calls)
            total += work + Work(flops=back, moved=number * moved * above.layers)
        return replace(total, memory=self.held(item, batch_tokens))

    def fitting(
        self, criteria: Mapping[str, Criterion], length: int, units: Sequence[str], batch_tokens: int | None
    ) -> int:
        """Return how many sequences scoring takes at a time: one, or as many as nine tenths of the memory hold."""
        passes, most = gradient_passes(criteria, tuple(units)), self.batch(length, batch_tokens) / length
        for number in range(int(most), 1, -1):
            if max((self.held(one, number * length) for one in passes), default=0) <= 0.9 * self.room:
                return number
        return 1

    def held(self, item: GradientPass, batch: float) -> float:
        """Return the peak of a pass of scoring that reads `batch` tokens at a time."""
        model, criteria = self.shape, [criterion for criterion, _ in item.criteria.values()]
        forms = any(map(form_of, criteria))
        positions = min(batch, head_positions(model.vocabulary, on_gpu=self.on_gpu))
        largest = max(map(len, self._parts(item)))
        fixed = model.weights(self.width) + sums_bytes(criteria[0], largest * self._scored_weights(item))
        fixed += 5 * 4 * positions * model.vocabulary + forms * 8 * 4 * self._scored_weights(item)
        # Weight forms keep the input of every MLP, too.
        inputs = forms * model.hidden * self.width
        a_token = model.layers * (kept(model, self.width) + inputs) + 8 * model.hidden * self.width
        return fixed + batch * a_token

    def _parts(self, item: GradientPass) -> list[range]:
        """Return the parts of the layers, each of which is read for itself."""
        first = next(iter(item.criteria.values()))[0]
        room = SUMS_SHARE * self.room if self.on_gpu else math.inf
        return layer_parts(first, int(self.shape.layers), self._scored_weights(item), room)

    def _scored_weights(self, item: GradientPass) -> float:
        """Return the number of a layer's weights that are those of the units that a pass scores."""
        return self.shape.unit_weights({kind for _, kinds in item.criteria.values() for kind in kinds})

    def train(
        self, settings: "Lora", sequences: float, batch_tokens: int | None = None, measured: float = 0
    ) -> Work:
        """Return the work of training adapters (`hfprune.recovery.lora`).

        Args:
            settings: of the training.
            sequences: those of all steps.
            batch_tokens: tokens of one forward pass; None: the default of the device.
            measured: held-out sequences, as often as each is measured.
        """
        model, length = self.shape, settings.length
        tokens = sequences * length
        fitting = (batch_tokens or training_tokens(on_gpu=self.on_gpu)) // length
        batch = next(n for n in range(max(1, min(fitting, settings.batch)), 0, -1) if settings.batch % n == 0)
        mask = (1 if self.on_gpu else 4) * bool(settings.dropout)
        a_token = model.layers * trained(model, self.width, mask)
        read = length - 1  # the last token predicts nothing
        curve = self.read(measured, read, read, batch_tokens=batch * read) if measured else Work()
        curve += Work(flops=2 * measured * read * model.adapters(settings.rank))
        # A pass of training has more in memory.
        return replace(curve, memory=0) + Work(
            flops=model.training(tokens, tokens * length, settings.rank),
            moved=tokens * (3 * model.layers * activations(model, self.width) + 4 * 8 * model.vocabulary),
            calls=3 * model.layers * sequences / batch,
            # Adapters with gradients and two moments in float32; logits in the model's dtype, and thrice of it
            memory=model.weights(self.width)
            + 16 * model.adapters(settings.rank)
            + batch * length * (a_token + (self.width + 12) * model.vocabulary),
        )


def solved(case: Case, settings: "Linear", sequences: float, length: int, plans: int) -> Work:
    """Return the work of solving the neurons' readers for so many plans (`hfprune.recovery.reconstruction`)."""
    model, tokens = case.shape, sequences * length
    inputs, both = model.neurons, model.neurons + model.hidden
    # For each λ and for the weights at last, a Cholesky and its solve, where a float64 product counts as two, and
    # the product that tells what is left, or what the plan has lost.
    product = 2 * inputs**2 * model.hidden
    once = model.layers * (2 * (inputs**3 / 3 + product) + product)
    return case.read(sequences, length, 0) + Work(
        single=2 * tokens * model.layers * inputs**2 + plans * (len(settings.ridges) + 1) * once,
        memory=model.weights(case.width)
        + 4 * (tokens * model.hidden + 2 * inputs**2 + 3 * both**2)
        + 32 * inputs**2,
    )


def activations(shape: Shape, width: int) -> float:
    """Return the bytes that a token's forward pass through one layer moves, products of matrices included.

    Norms and residual sums pass over the hidden states some 20 times, partly in float32; gate, up, their product
    and its input to `down` some 6 times over the neurons; rotation and attention some 8 times over the heads.
    """
    return width * (20 * shape.hidden + 6 * shape.neurons + 8 * shape.heads * shape.head_dim)


def kept(shape: Shape, width: int) -> float:
    """Return the bytes that a token of one layer keeps for the backward pass of scoring.

    The inputs of all norms in float32, q, k, v and the output of attention, gate and up.
    """
    attention = (shape.heads + shape.kv_heads) * shape.head_dim
    norms = shape.norms * shape.hidden + shape.head_norms * attention
    return 4 * norms + width * (2 * attention + 2 * shape.neurons)


def trained(shape: Shape, width: int, mask: int) -> float:
    """Return the bytes that a token of one layer keeps for the backward pass of training.

    As `kept`, with the activated gate and what peft keeps for each of the seven adapters: its input, and for each
    number of it `mask` bytes of dropout's mask.
    """
    read = 5 * shape.hidden + shape.heads * shape.head_dim + shape.neurons
    return kept(shape, width) + width * shape.neurons + read * (width + mask)


def form_of(criterion: Criterion) -> bool:
    """Tell whether a criterion is in weight form, which takes the gradients of weights."""
    return isinstance(criterion, GradientCriterion) and criterion.scorable() != criterion.kinds
