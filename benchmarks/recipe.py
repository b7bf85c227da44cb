"""What `recipe` says of its factors, and `recipe-confirm` of the one recipe: from their items, with intervals.

`factors` writes FACTORS: each main effect and interaction of score, allocation and repair, as a difference of mean
log perplexity over the other factors. `regained` writes REGAINED: the share of the log perplexity that the paper's
plan loses against the dense model, and that each cell takes back. Intervals cover draws and documents
(`hfprune.analysis.statistics`); p-values are corrected by Holm's method for all rows of the table.

    python benchmarks/recipe.py factors recipe
    python benchmarks/recipe.py regained recipe-confirm
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import Outcomes, contrast
from hfprune.analysis.significance import holm
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.results import DENSE
from hfprune.settings import load
from hfprune.study.layout import study_file
from hfprune.study.study import Study

PAPER = "entropy"
ALLOCATIONS = {"uniform": "", "z-scored global": "_zscored", "raw global": "_global"}
REPAIRS = {"none": "none", "solved": "linear"}
FACTORS, REGAINED = "factors.csv", "regained.csv"


class Cell(NamedTuple):
    """A cell of the factorial study."""

    score: str
    allocation: str
    repair: str


# Contrasts of one factor: the weights of its levels, which add up to 0.
Weights = Mapping[str, float]
SCORES: dict[str, Weights] = {
    "squares - absolute values": {
        "entropy_squares": 0.5,
        "fisher": 0.5,
        "entropy": -0.5,
        "cross_entropy": -0.5,
    },
    "entropy - cross-entropy": {
        "entropy": 0.5,
        "entropy_squares": 0.5,
        "cross_entropy": -0.5,
        "fisher": -0.5,
    },
    "activations - gradients": {
        **{"wanda": 0.5, "flap": 0.5},
        **dict.fromkeys(("entropy", "entropy_squares", "cross_entropy", "fisher"), -0.25),
    },
    "FLAP's score - Wanda": {"flap": 1, "wanda": -1},
}
SHARED: dict[str, Weights] = {
    "z-scored - uniform": {"z-scored global": 1, "uniform": -1},
    "raw global - uniform": {"raw global": 1, "uniform": -1},
    "raw global - z-scored": {"raw global": 1, "z-scored global": -1},
}
REPAIR: dict[str, Weights] = {"solved - not": {"solved": 1, "none": -1}}
# That squares need no z-scores, since they approximate the curvature, which is comparable across layers.
AT = {
    "raw global - z-scored, absolute values": {"entropy": 0.5, "cross_entropy": 0.5},
    "raw global - z-scored, squares": {"entropy_squares": 0.5, "fisher": 0.5},
}


def effects() -> Iterator[tuple[str, dict[Cell, float]]]:
    """Yield name and weights of cells of every effect: main effects, then interactions of two factors."""
    means: tuple[Weights, Weights, Weights] = (
        dict.fromkeys(SCORES["activations - gradients"], 1 / 6),
        dict.fromkeys(ALLOCATIONS, 1 / 3),
        dict.fromkeys(REPAIRS, 1 / 2),
    )
    families = SCORES, SHARED, REPAIR
    for place, family in enumerate(families):
        for name, weights in family.items():
            yield name, _cells(*(weights if i == place else mean for i, mean in enumerate(means)))
    for name, weights in AT.items():
        yield name, _cells(weights, SHARED["raw global - z-scored"], means[2])
    for (i, first), (j, second) in [
        ((0, SCORES), (1, SHARED)),
        ((0, SCORES), (2, REPAIR)),
        ((1, SHARED), (2, REPAIR)),
    ]:
        for (a, left), (b, right) in product(first.items(), second.items()):
            chosen = [*means]
            chosen[i], chosen[j] = left, right
            yield f"({a}) × ({b})", _cells(*chosen)


def _cells(score: Weights, allocation: Weights, repair: Weights) -> dict[Cell, float]:
    """Return the products of the weights of three factors."""
    return {
        Cell(s, a, r): x * y * z
        for (s, x), (a, y), (r, z) in product(score.items(), allocation.items(), repair.items())
    }


def share(paper: Outcomes, dense: Outcomes, other: Outcomes) -> tuple[float, float, float]:
    """Return the share of the paper's loss that another cell takes back, with its 95 % interval (Fieller's).

    The share θ is within it where the interval of (paper - other) - θ·(paper - dense) holds 0. The ends are NaN
    where the paper's loss is not shown to be one.
    """

    def of(theta: float) -> Estimate:
        return estimate(contrast([(1 - theta, paper), (theta, dense), (-1.0, other)]))

    value = of(0).value / (of(0).value - of(1).value)
    if not estimate(contrast([(1, paper), (-1, dense)])).low > 0:
        return value, np.nan, np.nan
    low, high = (
        _root(end, value, side) for end, side in ((lambda x: of(x).low, -1), (lambda x: of(x).high, 1))
    )
    return value, low, high


def _root(end: Callable[[float], float], value: float, side: int) -> float:
    """Return where an end of the interval crosses 0, at one side of the value."""
    step = 0.1
    while side * end(value + side * step) > 0 or np.isnan(end(value + side * step)):
        step *= 2
        if step > 100:
            return float("nan")
    return float(brentq(end, *sorted((value, value + side * step)), xtol=1e-5))


def factors(evidence: Evidence) -> pd.DataFrame:
    """Return a row an effect: `effect`, difference of log perplexity with `low` and `high`, and `holm`."""
    found = {}

    def losses(cell: Cell) -> Outcomes:
        if cell not in found:
            (model,), (ratio,) = evidence.models, evidence.study.ratios
            method = cell.score + ALLOCATIONS[cell.allocation]
            cells = evidence.cells_of(model, method, ratio, REPAIRS[cell.repair])
            found[cell] = evidence.outcomes(cells, "perplexity", "perplexity")
        return found[cell]

    rows = []
    for name, weights in effects():
        it = estimate(contrast([(weight, losses(cell)) for cell, weight in weights.items()]))
        rows.append((name, it.value, it.low, it.high, it.p_value()))
    table = pd.DataFrame(rows, columns=["effect", "difference", "low", "high", "p"])
    return table.assign(holm=holm([*table.pop("p")]))


def regained(evidence: Evidence) -> pd.DataFrame:
    """Return a row a pruned cell: `perplexity`, and `share` of the paper's loss taken back, with `low`, `high`."""
    rows = []
    measures = [name for name in evidence.study.measures if name.startswith("perplexity")]
    for model, measure in product(evidence.models, measures):
        dense = evidence.outcomes(evidence.cells_of(model, DENSE, 0.0), measure, "perplexity")
        for ratio in evidence.study.ratios_of(model):
            paper = evidence.outcomes(evidence.cells_of(model, PAPER, ratio), measure, "perplexity")
            for method, recovery in product(
                evidence.study.methods_of(model), evidence.study.recoveries_of(model)
            ):
                if not (cells := evidence.cells_of(model, method, ratio, recovery)):
                    continue
                other = evidence.outcomes(cells, measure, "perplexity")
                mean = estimate(contrast([(1.0, other)])).value
                shares = (
                    (0.0, 0.0, 0.0) if (method, recovery) == (PAPER, "none") else share(paper, dense, other)
                )
                rows.append((model, ratio, measure, method, recovery, np.exp(mean), *shares))
    columns = ["model", "ratio", "measure", "method", "recovery", "perplexity", "share", "low", "high"]
    order = ["model", "ratio", "measure", "perplexity"]
    return pd.DataFrame(rows, columns=columns).sort_values(order, kind="stable").reset_index(drop=True)


def main() -> None:
    """Write the table beside the study's results, and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=["factors", "regained"])
    parser.add_argument("study", help="its name, or its file")
    given = parser.parse_args()
    path = study_file(given.study)
    folder = Path("results") / path.stem
    evidence = Evidence(load(Study, path), path.stem, folder, folder)
    made, file = (factors, FACTORS) if given.table == "factors" else (regained, REGAINED)
    table = made(evidence)
    table.to_csv(folder / file, index=False, float_format="%.5g", lineterminator="\n")
    print(table.to_markdown(index=False, floatfmt=".3g"))
    print(folder / file)


if __name__ == "__main__":
    main()
