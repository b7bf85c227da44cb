"""The work of a job on any device: operations, steps of decoding, bytes and fixed times."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Seconds in which a processor's thread turns one logit into a loss or an entropy.
LOGIT = 7e-9
# How many times as long it takes to turn one into a gradient: by the scorings of the studies `table7` and
# `mechanism`, and the trainings of `recovery`.
GRADIENT = 3


@dataclass(frozen=True)
class Work:
    """The work of a job beyond its start; a job without operations takes one core and no GPU."""

    flops: float = 0
    """Operations of passes."""
    dtype: str = "float32"
    memory: float = 0
    """Bytes on the device at the peak, weights included."""
    loaded: float = 0
    """Bytes of weights that are read from disk."""
    seconds: float = 0
    """Seconds of all else."""
    text: float = 0
    """Bytes of main memory for a text, before the model is loaded."""
    logits: float = 0
    """Logits that become losses or entropies; logits of a distance count three times, those of a gradient
    `GRADIENT` times."""
    steps: Mapping[int, float] = field(default_factory=dict)
    """Steps of decoding by the dense model, by the number of texts at a time."""
    products: float = 0
    """Weights that each token of such a step is multiplied by."""

    @property
    def computes(self) -> bool:
        """Whether a model runs, which occupies the device."""
        return bool(self.flops or self.steps)
