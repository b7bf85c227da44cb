"""What a job does, whatever it runs on: operations, steps of decoding, bytes and fixed times."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Work:
    """What a job does beyond its start; without operations, it takes one core and no GPU."""

    flops: float = 0
    """Operations of passes."""
    dtype: str = "float32"
    memory: float = 0
    """Bytes on the device at the peak, weights included."""
    loaded: float = 0
    """Bytes of weights that it reads from disk."""
    seconds: float = 0
    """Time of all else."""
    text: float = 0
    """Bytes of main memory for a text, before the model is loaded."""
    logits: float = 0
    """Logits that become losses or entropies; those of a distance count three times."""
    steps: Mapping[int, float] = field(default_factory=dict)
    """Steps of decoding by the dense model, by how many texts go on at a time."""
    products: float = 0
    """The weights that a token of such a step meets."""

    @property
    def computes(self) -> bool:
        """Whether a model runs, which takes the device."""
        return bool(self.flops or self.steps)
