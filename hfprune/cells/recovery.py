"""What is done after pruning: a coordinate of a cell."""

from enum import StrEnum


class Recovery(StrEnum):
    """What is done after pruning: a sequence of steps, one on the other, spelt with `+` between them."""

    NONE = "none"
    LINEAR = "linear"
    """Least-squares reconstruction (`hfprune.settings.recovery.Linear`)."""
    LORA = "lora"
    """Training of low-rank adapters (`hfprune.settings.recovery.Lora`)."""
    LINEAR_LORA = "linear+lora"
    BIAS = "bias"
    """The bias alone is solved, as FLAP does; a method asks for it, and no study lists it."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps in their order; none of `none`."""
        return () if self is Recovery.NONE else tuple(self.value.split("+"))

    @property
    def reconstructs(self) -> bool:
        """Whether weights are solved again by least squares."""
        return Recovery.LINEAR in self.steps

    @property
    def trains(self) -> bool:
        """Whether adapters are trained."""
        return Recovery.LORA in self.steps

    @property
    def of_dense(self) -> "Recovery":
        """What the dense model gets as a control: the same training; reconstruction leaves it as it is."""
        return Recovery.LORA if self.trains else Recovery.NONE
