"""Do criteria still differ after recovery, and which cheap outcome predicts answers? From a study's items.

`effects` compares every method with the paper's, `entropy`, with each recovery and without; it says how recovery
changes that, how much it gains, and how far the dense model is that was tuned in the same way. `ranks` gives
Spearman's correlation of each outcome with accuracy over pruned cells, all and those of one ratio. Intervals
cover draws and documents; those of `ranks` another choice of plans, too.

    python findings/headline.py effects recovery
    python findings/headline.py effects headline recovery    # with the draws of both
    python findings/headline.py ranks recovery
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from recipe import PAPER, loss_ratio
from scipy.stats import rankdata
from study_tables import measured, pool, require_alike, write_table

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import Outcomes, contrast
from hfprune.analysis.significance import holm
from hfprune.analysis.statistics import estimate
from hfprune.errors import HfpruneError
from hfprune.results import DENSE

ACCURACY = "points"
RESAMPLES = 20_000  # fewer leave the second digit of an end to chance
FEWEST = 8  # plans whose ranks are compared
SHARED = "none", "linear", "lora"
Term = tuple[float, str, str]  # weight, method, recovery


def questions(
    methods: Sequence[str], recoveries: Sequence[str]
) -> Iterator[tuple[str, str, str, list[Term]]]:
    """Yield each question with its method, its recovery, and the cells whose weighted sum answers it.

    `against_entropy`: the method less entropy, both with this recovery. `change`: that, less the same without
    recovery. `against_paper`: less entropy without recovery. `gain`: the method with this recovery less
    without. `against_dense`: less the dense model with this recovery.
    """
    for recovery, method in product(recoveries, methods):
        here = (1.0, method, recovery)
        against: list[Term] = [here, (-1.0, PAPER, recovery)]
        without: list[Term] = [(-1.0, method, "none"), (1.0, PAPER, "none")]
        if method != PAPER:
            yield "against_entropy", method, recovery, against
        if method != PAPER and recovery != "none":
            yield "change", method, recovery, against + without
            yield "against_paper", method, recovery, [here, (-1.0, PAPER, "none")]
        if recovery != "none":
            yield "gain", method, recovery, [here, (-1.0, method, "none")]
        yield "against_dense", method, recovery, [here, (-1.0, DENSE, recovery)]


def effects(evidence: Evidence, *more: Evidence) -> pd.DataFrame:
    """Return a row a question of `questions`, with its `value` in the units shown, its ends, and `holm`.

    The draws of `more` studies are joined to those of the first.

    `holm` corrects for all rows with the same question of one outcome, or of those that the first study corrects
    together. `linear_per_lora` is `linear_share`.
    Questions about cells that were not measured have no row.
    """
    for other in more:
        require_alike(evidence.study, other.study)
    rows = []
    for model, (effect, declared) in product(evidence.models, evidence.effects.items()):
        for ratio in evidence.study.ratios_of(model):
            of = declared.measure, declared.metric.name, model, ratio
            parts = [measured(one, *of) for one in (evidence, *more)]
            cells = pool(parts) if more else parts[0]
            methods, recoveries = evidence.study.methods_of(model), evidence.study.recoveries_of(model)
            for question, method, recovery, terms in questions(methods, recoveries):
                if all(term[1:] in cells for term in terms):
                    it = estimate(contrast([(weight, cells[m, r]) for weight, m, r in terms]))
                    shown = [declared.shown(x) for x in (it.value, it.low, it.high)]
                    rows.append((model, ratio, effect, question, method, recovery, *shown, it.p_value()))
            for method in methods:
                sides = [cells[method, recovery] for recovery in SHARED if (method, recovery) in cells]
                if len(sides) == len(SHARED):
                    share = linear_share(*sides, higher=declared.metric.better == "higher")
                    rows.append((model, ratio, effect, "linear_per_lora", method, "linear", *share, np.nan))
    keys = ["model", "ratio", "outcome", "question", "method", "recovery"]
    table = pd.DataFrame(rows, columns=[*keys, "value", "value_low", "value_high", "p"])
    family = {effect: number for number, some in enumerate(evidence.hypothesis_families()) for effect in some}
    table["holm"] = table.groupby([table["outcome"].map(family), "question"], sort=False)["p"].transform(holm)
    # What is zero but for rounding differs between machines.
    ends = ["value", "value_low", "value_high"]
    table[ends] = table[ends].where(table[ends].abs() > 1e-12, 0.0).where(table[ends].notna())
    return table.drop(columns="p")


def linear_share(
    without: Outcomes, solved: Outcomes, trained: Outcomes, higher: bool
) -> tuple[float, float, float]:
    """Return the share of LoRA's gain that linear recovery has, with its ends; see `recipe.loss_ratio`."""
    if higher:
        return loss_ratio(trained, without, solved)
    left, low, high = loss_ratio(without, trained, solved)
    return 1 - left, 1 - high, 1 - low


def ranks(evidence: Evidence) -> pd.DataFrame:
    """Return a row an outcome and choice of plans: its `correlation` with accuracy over the pruned cells.

    Outcomes are signed so that better goes with better. The ends are percentiles of a bootstrap over plans,
    with all recoveries of each, over draws, the same for all cells and outcomes, and over documents. The row of
    accuracy itself says how well it repeats its own ranking: one half of the documents against the other, the
    mean of random halves, by Spearman and Brown's formula for as many documents. The plans are all, those of
    one ratio, and those of one ratio without magnitude and random choice, where there are `FEWEST`.

    Raises:
        HfpruneError: the study does not measure accuracy.
    """
    if ACCURACY not in evidence.effects:
        raise HfpruneError("the study does not measure zeroshot, so nothing ranks its cells")
    rows = []
    for model in evidence.models:
        found = {effect: _pruned(evidence, declared, model) for effect, declared in evidence.effects.items()}
        for effect, cells in found.items():
            for plans, common in _choices([cell for cell in cells if cell in found[ACCURACY]]).items():
                accuracy = [found[ACCURACY][cell] for cell in common]
                if effect == ACCURACY:
                    rows.append((model, effect, plans, len(common), halves(accuracy), np.nan, np.nan))
                    continue
                sign = 1 if evidence.effects[effect].metric.better == "higher" else -1
                cheap = [{task: sign * items for task, items in cells[cell].items()} for cell in common]
                of_plan = [(ratio, method) for ratio, method, _ in common]
                rows.append((model, effect, plans, len(common), *correlation(cheap, accuracy, of_plan)))
    columns = ["model", "outcome", "plans", "cells", "correlation", "correlation_low", "correlation_high"]
    return pd.DataFrame(rows, columns=columns)


def _choices(cells: Sequence[tuple]) -> dict[str, list[tuple]]:
    """Return all cells, and those of each smaller choice of plans that is large enough, by name."""
    found = {"all": [*cells]}
    for ratio in sorted({ratio for ratio, _, _ in cells}):
        here = [cell for cell in cells if cell[0] == ratio]
        chosen = [cell for cell in here if cell[1] not in ("magnitude", "random")]
        parts = {f"{ratio:.0%}": here, f"{ratio:.0%} without magnitude and random": chosen}
        for name, part in parts.items():
            if len({cell[:2] for cell in part}) >= FEWEST and part not in found.values():
                found[name] = part
    return found


def _pruned(evidence: Evidence, declared: Declaration, model: str) -> dict[tuple, Mapping[str, np.ndarray]]:
    """Return the items of every pruned cell that was measured, by ratio, method and recovery."""
    return {
        (ratio, *cell): contrast([(1.0, outcomes)]).tasks
        for ratio in evidence.study.ratios_of(model)
        for cell, outcomes in measured(evidence, declared.measure, declared.metric.name, model, ratio).items()
        if cell[0] != DENSE
    }


Items = Sequence[Mapping[str, np.ndarray]]  # cells, each task → float64 [draws, documents]


def correlation(cheap: Items, accuracy: Items, plans: Sequence[tuple]) -> tuple[float, float, float]:
    """Return Spearman's correlation of two outcomes over cells, with the ends of its 95 % interval.

    `plans` tells which cells are of one plan. Plans, draws and documents are drawn again together, so the noise
    that a plan's outcome has of its documents counts twice: the interval covers the correlation on so many
    documents more often than it says. Noise draws correlations
    towards zero, so that of outcomes without noise may lie outside.
    """
    rng = np.random.default_rng(0)
    value = float(_spearman(_mean(cheap), _mean(accuracy)))
    draws = next(iter(accuracy[0].values())).shape[0]
    weights = rng.multinomial(draws, [1 / draws] * draws, RESAMPLES) / draws
    sides = [_resampled(side, weights, rng) for side in (cheap, accuracy)]
    of_plan = [np.flatnonzero([one == plan for one in plans]) for plan in dict.fromkeys(plans)]
    chosen = rng.integers(len(of_plan), size=(RESAMPLES, len(of_plan)))
    cells = [np.concatenate([of_plan[i] for i in plans_of]) for plans_of in chosen]
    sizes = np.array([len(of) for of in cells])
    found = np.empty(RESAMPLES)
    for size in np.unique(sizes):  # plans may have several cells
        rows = np.flatnonzero(sizes == size)[:, None]
        which = np.stack([cells[row] for row in rows[:, 0]])
        found[rows[:, 0]] = _spearman(*(side[rows, which] for side in sides))
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return value, float(low), float(high)


def halves(items: Items) -> float:
    """Return the correlation to expect of an outcome with itself on as many other documents."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        order = {task: rng.permutation(outcomes.shape[1]) for task, outcomes in items[0].items()}
        parts = [
            _mean([{task: x[:, order[task][side::2]] for task, x in cell.items()} for cell in items])
            for side in (0, 1)
        ]
        found.append(_spearman(*parts))
    half = float(np.mean(found))
    return 2 * half / (1 + half)


def _mean(items: Items) -> np.ndarray:
    return np.array([np.mean([outcomes.mean() for outcomes in cell.values()]) for cell in items])


def _resampled(items: Items, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return means of cells over resampled documents and these weights of draws: [resamples, cells]."""
    found = []
    for task in items[0]:
        outcomes = np.stack([cell[task] for cell in items])
        documents = outcomes.shape[2]
        by_document = (
            outcomes @ (rng.multinomial(documents, [1 / documents] * documents, RESAMPLES) / documents).T
        )
        found.append(np.einsum("pdr,rd->rp", by_document, weights))
    return np.mean(found, axis=0)


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's correlations along the last axis; NaN where one side has a single rank."""
    a, b = (rankdata(side, axis=-1) - (side.shape[-1] + 1) / 2 for side in (first, second))
    size = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / size


if __name__ == "__main__":
    write_table(__doc__, {"effects": effects, "ranks": ranks}, pooled="effects")
