"""What is done after pruning: a coordinate of a cell."""

from enum import StrEnum


class Recovery(StrEnum):
    """What is done after pruning: a sequence of steps, spelt with `+` between them."""

    NONE = "none"
    LINEAR = "linear"
    """Least-squares reconstruction (`hfprune.settings.recovery.Linear`)."""
    LORA = "lora"
    """Training of low-rank adapters (`hfprune.settings.recovery.Lora`)."""
    LINEAR_LORA = "linear+lora"
    BIAS = "bias"
    """Least squares for the bias alone, as in FLAP; methods ask for it, and no study lists it."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps in their order; empty for `none`."""
        return () if self is Recovery.NONE else tuple(self.value.split("+"))

    @property
    def reconstructs(self) -> bool:
        """Whether weights are reconstructed by least squares."""
        return Recovery.LINEAR in self.steps

    @property
    def trains(self) -> bool:
        """Whether adapters are trained."""
        return Recovery.LORA in self.steps

    @property
    def of_dense(self) -> "Recovery":
        """The dense model's control: the same training, without reconstruction, which would change nothing."""
        return Recovery.LORA if self.trains else Recovery.NONE
