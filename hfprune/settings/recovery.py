"""How pruned models recover: packing of the instruction pairs, and low-rank training."""

from math import ceil, inf
from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_serializer

from hfprune.settings import Strict

# Files of a recovery's folder: two of peft, and the results of the training.
ADAPTER, ADAPTER_CONFIG, RECOVERED = "adapter_model.safetensors", "adapter_config.json", "recovery.json"
# File of a linear recovery's folder: the reconstructed weights.
SOLVED = "linear.safetensors"

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Packing(Strict):
    """How instruction pairs become sequences; the defaults are the official script's."""

    length: Annotated[int, Field(gt=1)] = Field(default=1024, description="tokens per packed sequence")
    packing: Literal["isolated", "plain"] = Field(
        default="isolated",
        description="isolated: whole pairs, hidden from each other, padded; plain: joined end to end and cut",
    )
    held_out: NonNegativeInt = Field(
        default=64,
        description="sequences that are measured and never trained on; they take at most a tenth of the pairs",
    )
    template: Literal["alpaca", "own"] = Field(
        default="alpaca", description="own: the model's chat template, if it has one; alpaca: the script's"
    )


class Lora(Packing):
    """How low-rank adapters are trained; the defaults are the official script's hyper-parameters and packing.

    docs/recovery.md lists the differences from that script.
    """

    rank: PositiveInt = 32
    alpha: PositiveFloat = Field(default=64, description="the adapter's output is scaled by alpha / rank")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: list[Projection] = Field(default=[*get_args(Projection)], min_length=1)
    learning_rate: PositiveFloat = 4e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: NonNegativeInt = 0
    weight_decay: NonNegativeFloat = 0
    batch: PositiveInt = Field(default=128, description="sequences per optimizer step")
    epochs: PositiveFloat = 2
    max_steps: PositiveInt | None = Field(default=None, description="optimizer steps; overrides epochs")
    loss: Literal["cross_entropy", "kl"] = Field(
        default="cross_entropy",
        description="cross_entropy: of the responses; kl: divergence from the dense model, of all tokens",
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="best: the measured step with the least held-out loss; 0: no training"
    )

    def trained_tokens(self, step: int, sequences: int) -> int:
        """Return the tokens that the first `step` steps read, prompts and padding included.

        The last step of an epoch has the rest of its `sequences`.
        """
        epochs, more = divmod(step, ceil(sequences / self.batch))
        return (epochs * sequences + min(more * self.batch, sequences)) * self.length


def fewest_sequences(inputs: int, length: int) -> int:
    """Return the fewest calibration sequences that determine weights of `inputs` inputs; an eighth is held out."""
    return max(2, 1 + inputs * 8 // (7 * length))


class Linear(Strict):
    """Least-squares reconstruction (GRAIL) after pruning, without training (`hfprune.recovery.reconstruction`)."""

    # On SmolLM2, 6,144 tokens choose λ = 1 at most places. There, 1e-3 overfits (it is
    # worse than the plain plan), and 10 is worse than 1.
    ridges: list[NonNegativeFloat] = Field(
        default=[1e-3, 1e-2, 1e-1, 1.0, 10.0],
        min_length=1,
        description="candidates for λ, relative to the mean of the Gram matrix's diagonal; the error on an "
        "eighth of the calibration's documents chooses wherever weights are solved; .inf leaves the weights, and "
        "the bias alone changes, as in FLAP",
    )

    @field_serializer("ridges", when_used="json")
    def _json_has_no_infinity(self, ridges: list[float]) -> list[float | str]:
        return ["inf" if ridge == inf else ridge for ridge in ridges]


def measured_steps(last: int) -> list[int]:
    """Return the optimizer steps after which the loss on held-out sequences is measured, 0 included.

    They are the powers of two, the last step, and half of it, so that the effect of the last doubling is known.
    """
    doublings = (2**power for power in range(last.bit_length()))
    return sorted({0, *doublings, half(last), last})


def half(step: int) -> int:
    """Return half of a number of steps, rounded up."""
    return (step + 1) // 2
