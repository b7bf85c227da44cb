"""The questions that the table of effects answers, each as a weighted sum of the outcomes of cells."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.study.reference import reference_of
from hfprune.study.study import Study

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


def questions(study: Study, model: str, measured: Collection[Side]) -> Iterator[Question]:
    """Yield each question whose two sides were measured."""
    for recovery in study.recoveries_of(model):
        for method in study.methods_of(model):
            left = method, recovery
            asked: dict[str, Side] = {
                REFERENCE: (reference_of(study, method), recovery),
                TO_DENSE: (DENSE, recovery.of_dense),
                GAIN: (method, Recovery.NONE),
            }
            if recovery.trains:
                asked[TO_UNTUNED] = DENSE, Recovery.NONE
            for name, right in asked.items():
                if {left, right} <= {*measured} and left != right:
                    yield Question(name, left, right)
