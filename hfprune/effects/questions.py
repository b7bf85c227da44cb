"""The questions that the table of effects answers, each as a weighted sum of the outcomes of cells."""

from typing import NamedTuple

from hfprune.cells.recovery import Recovery

# One side less another, where neither is the other's reference.
PAIR = "pair"
# The method less its reference, both with the same recovery.
REFERENCE = "reference"
# The method less the dense model with the same recovery; reconstruction leaves the dense model as it is.
TO_DENSE = "dense"
# The method with a recovery that trains less the dense model without any.
TO_UNTUNED = "untuned_dense"
# The method with a recovery less the same without.
GAIN = "gain"
# The effect that a claim of the paper is about.
CLAIM = "claim"
# By how much a tenfold calibration changes the method's own outcome, and its effect against the reference.
OWN_SLOPE = "own_slope"
SLOPE = "slope"

Side = tuple[str, Recovery]
"""A method and a recovery."""


class Question(NamedTuple):
    """A method with a recovery beside another side, at one ratio of one model."""

    name: str
    left: Side
    right: Side
