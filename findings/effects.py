"""What the workflow's tables lack, from a study's items: effects after recovery, answers, losses, ranks.

python findings/effects.py recovery headline    # each table that findings.py reads of these studies
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import rankdata

from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotMeasuredError, Outcomes, contrast
from hfprune.analysis.statistics import Estimate, estimate, holm
from hfprune.results import DENSE

PAPER, ACCURACY, BOOLQ = "entropy", "points", "boolq"
RESAMPLES = 20_000  # fewer leave the second digit of an end to chance
Term = tuple[float, str, str]  # weight, method, recovery
Items = Sequence[Mapping[str, np.ndarray]]  # cells, each task → float64 [draws, documents]


def measured(
    evidence: Evidence, measure: str, metric: str, model: str, ratio: float, tasks: list[str] | None = None
) -> dict[tuple[str, str], Outcomes]:
    """Return the outcomes of every method and recovery that was measured, and of the dense model."""
    found = {}
    pairs = product([DENSE, *evidence.study.methods_of(model)], evidence.study.recoveries_of(model))
    for method, recovery in dict.fromkeys([(DENSE, "none"), *pairs]):
        cells = evidence.cells_of(model, method, 0.0 if method == DENSE else ratio, recovery)
        try:
            found[method, recovery] = evidence.outcomes(cells, measure, metric, tasks)
        except NotMeasuredError:
            continue
    return found


def questions(
    methods: Sequence[str], recoveries: Sequence[str]
) -> Iterator[tuple[str, str, str, list[Term]]]:
    """Yield each question with its method, its recovery, and the cells whose weighted sum answers it.

    `against_entropy`: the method less entropy, both with this recovery. `gain`: the method with this recovery less
    without. `against_dense`: less the dense model with this recovery.
    """
    for recovery, method in product(recoveries, methods):
        here = (1.0, method, recovery)
        if method != PAPER:
            yield "against_entropy", method, recovery, [here, (-1.0, PAPER, recovery)]
        if recovery != "none":
            yield "gain", method, recovery, [here, (-1.0, method, "none")]
        yield "against_dense", method, recovery, [here, (-1.0, DENSE, recovery)]


def effects(evidence: Evidence) -> pd.DataFrame:
    """Return a row a question of `questions`, with its `value` in the units shown, its ends, and `holm`.

    `holm` corrects for all rows with the same question of one outcome, or of those that the study corrects
    together. Accuracy also stands without BoolQ, as a family of its own. Questions about cells that were not
    measured have no row.
    """
    rows = []
    family = {effect: number for number, some in enumerate(evidence.hypothesis_families()) for effect in some}
    for model, (effect, declared) in product(evidence.models, evidence.effects.items()):
        kinds: dict[str, list[str] | None] = {effect: None}
        if effect == ACCURACY and BOOLQ in (tasks := evidence.tasks(declared.measure)):
            kinds["points_without_boolq"] = [task for task in tasks if task != BOOLQ]
        for (name, some), ratio in product(kinds.items(), evidence.study.ratios_of(model)):
            cells = measured(evidence, declared.measure, declared.metric.name, model, ratio, some)
            recoveries = evidence.study.recoveries_of(model)
            for *which, terms in questions(evidence.study.methods_of(model), recoveries):
                if all(term[1:] in cells for term in terms):
                    it = estimate(contrast([(weight, cells[m, r]) for weight, m, r in terms]))
                    shown = [declared.shown(x) for x in (it.value, it.low, it.high)]
                    rows.append((model, ratio, name, *which, *shown, it.p_value()))
    keys = ["model", "ratio", "outcome", "question", "method", "recovery"]
    table = pd.DataFrame(rows, columns=[*keys, "value", "value_low", "value_high", "p"])
    of = table["outcome"].map(lambda name: family.get(name, -1))
    table["holm"] = table.groupby([of, "question"], sort=False)["p"].transform(holm)
    # What is zero but for rounding differs between machines.
    ends = ["value", "value_low", "value_high"]
    table[ends] = table[ends].where(table[ends].abs() > 1e-12, 0.0).where(table[ends].notna())
    return table.drop(columns="p")


def answers(evidence: Evidence) -> pd.DataFrame:
    """Return, of BoolQ in each cell over all draws, the shares answered yes, answered right, and truly yes."""
    rows = evidence.items("zeroshot").query("task == @BOOLQ")
    yes = rows["loglikelihood"].map(lambda both: float(both[1] > both[0]))
    by = ["model", "ratio", "method", "recovery"]
    found = rows.assign(yes=yes, truth=rows["target"].astype(float)).groupby(by, sort=True)
    return found[["yes", "acc", "truth"]].mean().reset_index()


def loss_ratio(paper: Outcomes, dense: Outcomes, other: Outcomes) -> tuple[float, float, float]:
    """Return a cell's loss per that of another cell, with its 95 % interval (Fieller's).

    A ratio ρ is within it where the interval of (other - dense) - ρ·(paper - dense) holds 0. The ends are NaN
    where the other cell's loss is not significantly above zero.
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


def losses(evidence: Evidence) -> pd.DataFrame:
    """Return a row a pruned cell: `loss_ratio`, its added log perplexity per that of entropy, with its ends.

    `against` says which entropy: without recovery (`none`), or with the same one (`linear`).
    """
    rows = []
    measures = [name for name in evidence.study.measures if name.startswith("perplexity")]
    for model, measure in product(evidence.models, measures):
        for ratio in evidence.study.ratios_of(model):
            cells = measured(evidence, measure, "perplexity", model, ratio)
            for (method, recovery), against in product(cells, ("none", "linear")):
                paper = cells.get((PAPER, against))
                own = (method, recovery) == (PAPER, against)
                if paper and method != DENSE and not own and against in ("none", recovery):
                    found = loss_ratio(paper, cells[DENSE, "none"], cells[method, recovery])
                    rows.append((model, ratio, measure, method, recovery, against, *found))
    keys = ["model", "ratio", "measure", "method", "recovery", "against"]
    return pd.DataFrame(rows, columns=[*keys, "loss_ratio", "loss_ratio_low", "loss_ratio_high"])


def ranks(evidence: Evidence) -> pd.DataFrame:
    """Return a row an outcome and choice of plans: Spearman's `correlation` with accuracy over the pruned cells.

    Outcomes are signed so that better goes with better. The ends are percentiles of a bootstrap over plans and
    documents. The plans are all, and those of the ratio that has most.
    """
    rows = []
    (model,) = evidence.models
    found: dict[str, dict[tuple, Mapping[str, np.ndarray]]] = {}
    for effect, declared in evidence.effects.items():
        sign = -1 if declared.metric.better == "lower" else 1
        found[effect] = {
            (ratio, method): contrast([(sign, outcomes)]).tasks
            for ratio in evidence.study.ratios_of(model)
            for (method, _), outcomes in measured(
                evidence, declared.measure, declared.metric.name, model, ratio
            ).items()
            if method != DENSE
        }
    most = pd.Series([ratio for ratio, _ in found[ACCURACY]]).mode()[0]
    for effect, plans in product(found, ("all", f"{most:.0%}")):
        if effect != ACCURACY:
            common = [cell for cell in found[effect] if plans == "all" or cell[0] == most]
            sides = ([found[one][cell] for cell in common] for one in (effect, ACCURACY))
            rows.append((model, effect, plans, len(common), *correlation(*sides)))
    columns = ["model", "outcome", "plans", "cells", "correlation", "correlation_low", "correlation_high"]
    return pd.DataFrame(rows, columns=columns)


def correlation(cheap: Items, accuracy: Items) -> tuple[float, float, float]:
    """Return Spearman's correlation of two outcomes over cells, with the ends of its 95 % interval.

    Cells and documents are drawn again together, so the noise that a cell's outcome has of its documents counts
    twice: the interval covers the correlation on so many documents more often than it says. Noise draws
    correlations towards zero, so that of outcomes without noise may lie outside.
    """
    rng = np.random.default_rng(0)
    means = (
        np.array([np.mean([*map(np.mean, cell.values())]) for cell in side]) for side in (cheap, accuracy)
    )
    sides = [_resampled(side, rng) for side in (cheap, accuracy)]
    chosen = rng.integers(len(cheap), size=(RESAMPLES, len(cheap)))
    rows = np.arange(RESAMPLES)[:, None]
    low, high = np.nanpercentile(_spearman(*(side[rows, chosen] for side in sides)), (2.5, 97.5))
    return float(_spearman(*means)), float(low), float(high)


def _resampled(items: Items, rng: np.random.Generator) -> np.ndarray:
    """Return means of cells over resampled documents: [resamples, cells]."""
    found = []
    for task, outcomes in items[0].items():
        documents = outcomes.shape[1]
        counts = rng.multinomial(documents, [1 / documents] * documents, RESAMPLES)
        found.append(counts @ np.stack([cell[task].mean(0) for cell in items], axis=1) / documents)
    return np.mean(found, axis=0)


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's correlations along the last axis; NaN where one side has a single rank."""
    a, b = (rankdata(side, axis=-1) - (side.shape[-1] + 1) / 2 for side in (first, second))
    size = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / size


# The tables that findings.py reads, and the studies that each is made of.
TABLES: dict[Callable[[Evidence], pd.DataFrame], list[str]] = {
    effects: ["recovery", "recovery-kl", "headline", "untuned", "recipe-confirm"],
    answers: ["recovery", "headline", "untuned"],
    losses: ["recipe", "recipe-confirm"],
    ranks: ["outcomes", "outcomes-qwen"],
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="+", choices={study for some in TABLES.values() for study in some})
    for study, (make, some) in product(parser.parse_args().studies, TABLES.items()):
        if study in some:
            out = Path("results") / study / f"{make.__name__}.csv"
            make(Evidence(out.parent)).to_csv(out, index=False, float_format="%.5g", lineterminator="\n")
            print(out)
