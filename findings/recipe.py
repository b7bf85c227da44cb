"""The factors of the study `recipe`, and the losses of `recipe-confirm`: from their items, with intervals.

`factors`: each main effect and interaction of score, allocation and repair, as a difference of mean
log perplexity over the other factors. `losses`: each cell's log perplexity less the dense model's,
as a ratio to the same difference of the paper's plan. Intervals cover draws and documents
(`hfprune.analysis.statistics`); p-values are corrected by Holm's method for all rows of the table.

    python findings/recipe.py factors recipe
    python findings/recipe.py losses recipe-confirm
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from study_tables import measured, write_table

from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import Outcomes, contrast
from hfprune.analysis.significance import holm
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.results import DENSE

PAPER = "entropy"
ALLOCATIONS = {"uniform": "", "zscored": "_zscored", "global": "_global"}
REPAIRS = {"none": "none", "solved": "linear"}


class Cell(NamedTuple):
    """A cell of the factorial study."""

    score: str
    allocation: str
    repair: str


# Contrasts of one factor: the weights of its levels, which add up to 0.
Weights = Mapping[str, float]
SCORES: dict[str, Weights] = {
    "squares-absolute": {
        "entropy_squares": 0.5,
        "fisher": 0.5,
        "entropy": -0.5,
        "cross_entropy": -0.5,
    },
    "entropy-cross_entropy": {
        "entropy": 0.5,
        "entropy_squares": 0.5,
        "cross_entropy": -0.5,
        "fisher": -0.5,
    },
    "activations-gradients": {
        **{"wanda": 0.5, "flap": 0.5},
        **dict.fromkeys(("entropy", "entropy_squares", "cross_entropy", "fisher"), -0.25),
    },
    "flap-wanda": {"flap": 1, "wanda": -1},
}
SHARED: dict[str, Weights] = {
    "zscored-uniform": {"zscored": 1, "uniform": -1},
    "global-uniform": {"global": 1, "uniform": -1},
    "global-zscored": {"global": 1, "zscored": -1},
}
REPAIR: dict[str, Weights] = {"solved-none": {"solved": 1, "none": -1}}
# That squares need no z-scores, since they approximate the curvature, which is comparable across layers.
AT = {
    "global-zscored@absolute": {"entropy": 0.5, "cross_entropy": 0.5},
    "global-zscored@squares": {"entropy_squares": 0.5, "fisher": 0.5},
}


def effects() -> Iterator[tuple[str, dict[Cell, float]]]:
    """Yield name and weights of cells of every effect: main effects, then interactions of two factors."""
    means: tuple[Weights, Weights, Weights] = (
        dict.fromkeys(SCORES["activations-gradients"], 1 / 6),
        dict.fromkeys(ALLOCATIONS, 1 / 3),
        dict.fromkeys(REPAIRS, 1 / 2),
    )
    families = SCORES, SHARED, REPAIR
    for place, family in enumerate(families):
        for name, weights in family.items():
            yield name, _cells(*(weights if i == place else mean for i, mean in enumerate(means)))
    for name, weights in AT.items():
        yield name, _cells(weights, SHARED["global-zscored"], means[2])
    for (i, first), (j, second) in [
        ((0, SCORES), (1, SHARED)),
        ((0, SCORES), (2, REPAIR)),
        ((1, SHARED), (2, REPAIR)),
    ]:
        for (a, left), (b, right) in product(first.items(), second.items()):
            chosen = [*means]
            chosen[i], chosen[j] = left, right
            yield f"{a}*{b}", _cells(*chosen)


def _cells(score: Weights, allocation: Weights, repair: Weights) -> dict[Cell, float]:
    """Return the products of the weights of three factors."""
    return {
        Cell(s, a, r): x * y * z
        for (s, x), (a, y), (r, z) in product(score.items(), allocation.items(), repair.items())
    }


def loss_ratio(paper: Outcomes, dense: Outcomes, other: Outcomes) -> tuple[float, float, float]:
    """Return a cell's loss per that of the paper's plan, with its 95 % interval (Fieller's).

    A ratio ρ is within it where the interval of (other - dense) - ρ·(paper - dense) holds 0. The ends are NaN
    where the paper's loss is not shown to be one.
    """

    def of(ratio: float) -> Estimate:
        return estimate(contrast([(1.0, other), (ratio - 1, dense), (-ratio, paper)]))

    value = of(0).value / (of(0).value - of(1).value)
    if not estimate(contrast([(1, paper), (-1, dense)])).low > 0:
        return value, np.nan, np.nan
    return value, _root(lambda x: of(x).low, value, -1), _root(lambda x: of(x).high, value, 1)


def _root(end: Callable[[float], float], value: float, side: int) -> float:
    """Return where an end of the interval crosses 0, at one side of the value."""
    step = 0.1
    while not end(value + side * step) * end(value) < 0:
        step *= 2
        if step > 100:
            return float("nan")
    return float(brentq(end, *sorted((value, value + side * step)), xtol=1e-5))


def factors(evidence: Evidence) -> pd.DataFrame:
    """Return a row an effect: `effect`, `difference` of log perplexity with its ends, and `holm`."""
    found = {}

    def outcomes(cell: Cell) -> Outcomes:
        if cell not in found:
            (model,), (ratio,) = evidence.models, evidence.study.ratios
            method = cell.score + ALLOCATIONS[cell.allocation]
            cells = evidence.cells_of(model, method, ratio, REPAIRS[cell.repair])
            found[cell] = evidence.outcomes(cells, "perplexity", "perplexity")
        return found[cell]

    rows = []
    for name, weights in effects():
        it = estimate(contrast([(weight, outcomes(cell)) for cell, weight in weights.items()]))
        rows.append((name, it.value, it.low, it.high, it.p_value()))
    table = pd.DataFrame(rows, columns=["effect", "difference", "difference_low", "difference_high", "p"])
    return table.assign(holm=holm([*table.pop("p")]))


def losses(evidence: Evidence) -> pd.DataFrame:
    """Return a row a pruned cell that was measured: `perplexity`, and `loss_ratio` with its ends: see there.

    There is none where the dense model or the paper's plan without recovery was not measured.
    """
    rows = []
    measures = [name for name in evidence.study.measures if name.startswith("perplexity")]
    for model, measure in product(evidence.models, measures):
        for ratio in evidence.study.ratios_of(model):
            cells = measured(evidence, measure, "perplexity", model, ratio)
            dense, paper = (cells.get((method, "none")) for method in (DENSE, PAPER))
            for (method, recovery), other in cells.items() if dense and paper else ():
                if method == DENSE:
                    continue
                mean = estimate(contrast([(1.0, other)])).value
                own = (method, recovery) == (PAPER, "none")
                ratios = (1.0, 1.0, 1.0) if own else loss_ratio(paper, dense, other)
                rows.append((model, ratio, measure, method, recovery, np.exp(mean), *ratios))
    columns = [
        "model",
        "ratio",
        "measure",
        "method",
        "recovery",
        "perplexity",
        "loss_ratio",
        "loss_ratio_low",
        "loss_ratio_high",
    ]
    order = ["model", "ratio", "measure", "perplexity"]
    return pd.DataFrame(rows, columns=columns).sort_values(order, kind="stable").reset_index(drop=True)


if __name__ == "__main__":
    write_table(__doc__, {"factors": factors, "losses": losses})
