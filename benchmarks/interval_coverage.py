"""Coverage of 95 % intervals over draws and documents, where documents are few and their outcomes skewed.

Simulates effects that are known, and counts how often the interval of `hfprune.analysis.statistics.estimate`
covers them, and how often the candidates do that were considered in its place. Writes `interval_coverage.csv` and
`.md` beside this file (minutes):

    python benchmarks/interval_coverage.py
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from hfprune.analysis.outcomes import Contrast
from hfprune.analysis.statistics import MIN_DOCUMENTS, estimate, interval
from hfprune.scoring.folds import FOLDS

DOCUMENTS = (6, 8, 16, 32, 64, 200)
# Seeds and resamples; without seeds, the interval holds for one plan, as in `lost.csv` without other draws.
DESIGNS = {
    "one plan": (0, 0),
    "1 + 4": (1, 4),
    "1 + 8": (1, 8),
    "3 draws": (3, 0),
    "5 draws": (5, 0),
    "10 draws": (10, 0),
}
SPREADS = (0.0, 2.0)  # standard deviation over draws, in standard errors over documents
SD = {"normal": 1.0, "t3": 3**0.5, "lognormal": ((np.e - 1) * np.e) ** 0.5}
LOGNORMAL_MEAN = np.exp(0.5)
REPETITIONS = 1000
BOOTSTRAPS = 399


def outcomes(rng: np.random.Generator, kind: str, n: int) -> np.ndarray:
    """Return the outcomes of n documents, whose true mean is 0."""
    if kind == "normal":
        return rng.normal(size=n)
    return rng.standard_t(3, size=n) if kind == "t3" else np.exp(rng.normal(size=n)) - LOGNORMAL_MEAN


def simulated(rng: np.random.Generator, kind: str, n: int, design: str, spread: float) -> Contrast:
    """Return one study: documents, draws whose luck is so many standard errors, and noise of both."""
    seeds, resamples = DESIGNS[design]
    documents = outcomes(rng, kind, n)
    if not seeds:
        return Contrast({"": documents[None]}, {}, {}, fixed=True)
    # Folds are parts of one draw: their mean is its luck, and resamples draw among them.
    folds = spread * SD[kind] * np.sqrt(FOLDS / n) * rng.normal(size=(seeds, FOLDS))
    again = rng.integers(FOLDS, size=(resamples, FOLDS))
    noise = 0.3 * SD[kind] * rng.normal(size=(seeds + resamples, n))
    rows = documents + folds.mean(1)[:, None] + noise[:seeds]
    others = documents + folds[0][again].mean(1)[:, None] + noise[seeds:]
    return Contrast({"": rows}, {"": others[None]} if resamples else {}, {}, fixed=False)


def coverage(rng: np.random.Generator, kind: str, n: int, design: str, spread: float) -> dict[str, float]:
    """Return how often the interval, and each candidate, covers the truth, which is 0."""
    effects = [simulated(rng, kind, n, design, spread) for _ in range(REPETITIONS)]
    found = [estimate(effect) for effect in effects]
    value = np.array([each.value for each in found])
    parts = [each.spread for each in found if each.spread]
    variance, dof, skewness, third = (
        np.array([getattr(part, name) for part in parts]) for name in ("variance", "dof", "skewness", "third")
    )
    low, high = interval(value, variance, dof, skewness)
    stderr, quantile = np.sqrt(variance), t.ppf(0.975, dof)
    x, a = value / stderr, third / stderr**3
    candidates = {
        "shown": (low <= 0) & (high >= 0),
        "Student": abs(x) <= quantile,
        "Johnson": abs(x + a / 6) <= quantile,
        "Hall": abs(x + a * x**2 / 3 + a**2 * x**3 / 27 + a / 6) <= quantile,
    }
    if design == "one plan":
        ends = np.array([bootstrap_t(rng, effect.tasks[""][0]) for effect in effects])
        candidates["bootstrap-t"] = (ends[:, 0] <= x) & (x <= ends[:, 1])
    if design == "one plan" and kind == "lognormal":  # whose outcomes are positive, but for the shift
        level = value + LOGNORMAL_MEAN
        candidates["logarithm"] = abs(np.log(level / LOGNORMAL_MEAN)) <= quantile * stderr / level
    return {name: float(hits.mean()) for name, hits in candidates.items()}


def bootstrap_t(rng: np.random.Generator, data: np.ndarray) -> np.ndarray:
    """Return the 95 % quantiles of Student's t over documents drawn with replacement."""
    drawn = (data - data.mean())[rng.integers(len(data), size=(BOOTSTRAPS, len(data)))]
    errors = np.maximum(drawn.std(1, ddof=1), 1e-12) / np.sqrt(len(data))
    return np.quantile(drawn.mean(1) / errors, [0.025, 0.975])


def simulate() -> Iterator[dict]:
    """Yield the coverage in each cell of the grid."""
    for (k, kind), n, (i, design) in product(enumerate(SD), DOCUMENTS, enumerate(DESIGNS)):
        for spread in SPREADS if design != "one plan" else (0.0,):
            rng = np.random.default_rng([k, n, i, int(spread)])
            cell = {"outcomes": kind, "documents": n, "design": design, "spread": spread}
            yield cell | coverage(rng, kind, n, design, spread)


def main() -> None:
    """Simulate, and write both files."""
    table = pd.DataFrame(simulate())
    here = Path(__file__).parent
    table.to_csv(here / "interval_coverage.csv", index=False, float_format="%.4g")
    (here / "interval_coverage.md").write_text(markdown(table))


def markdown(table: pd.DataFrame) -> str:
    """Return the lowest coverage over spreads, by outcomes, design and documents, and candidates for one plan."""
    of = ["outcomes", "design", "documents"]
    lowest = 100 * table.groupby(of, sort=False)["shown"].min().unstack("documents")
    plain = 100 * table.groupby(of, sort=False)["Student"].min().unstack("documents")
    alone = table[table["design"] == "one plan"].drop(columns=["design", "spread"])
    candidates = alone.set_index(["outcomes", "documents"]) * 100
    form = {"floatfmt": ".1f", "missingval": ""}
    return f"""# Coverage of 95 % intervals

Made by `python benchmarks/interval_coverage.py`, {REPETITIONS:,} repetitions a cell (± 1.4 points). Numbers are
in percent; columns headed by a number are for so many documents. Intervals are shown from {MIN_DOCUMENTS}
documents; the column of 6 says why.

## The interval that is shown: the lower coverage of draws that vary not at all, and twice as much as documents

{lowest.reset_index().to_markdown(index=False, **form)}

## Student's t by the same variance

{plain.reset_index().to_markdown(index=False, **form)}

## Candidates, for one plan

{candidates.reset_index().to_markdown(index=False, **form)}
"""


if __name__ == "__main__":
    main()
