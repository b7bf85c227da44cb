"""Which candidate is the default of `hfprune prune`, by the rule that the study `candidates` declares.

`python -m findings.candidates`, from the root of a clone, prints ranks and what the rule takes, of the study, and
of its confirmation on other draws and a larger model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tabulate import tabulate

from findings.sources import TABLES, Tables
from hfprune.cells.recovery import Recovery
from hfprune.criteria import CRITERIA
from hfprune.effects.comparisons import ComparedBy, comparisons, mean
from hfprune.errors import HfpruneError
from hfprune.results.effect import ALPHA
from hfprune.results.evidence import Evidence
from hfprune.settings import load
from hfprune.statistics.estimates import estimate, holm
from hfprune.study.labels import labels
from hfprune.study.reference import PAPERS
from hfprune.study.study import Study

RECOVERY = Recovery.LINEAR
# Mean ranks that are no farther apart are a tie.
TIE = 0.5


class Ranked(NamedTuple):
    """Candidates that the rule has ranked, and the one that it takes."""

    by_model: pd.DataFrame
    """Mean rank of log perplexity over ratios and texts: a row a candidate, the first on top, a column a model."""
    taken: str
    """The candidate that the rule takes."""
    stable: bool
    """Whether the first stays first, to a tie, when any one model is left out."""

    @property
    def over_models(self) -> pd.Series:
        """The mean rank of each candidate, each model with the same weight."""
        return self.by_model.mean(axis=1)


def log_perplexities(evidence: Evidence) -> pd.DataFrame:
    """Return the log perplexity of every candidate: a row a candidate, a column a model, ratio and text."""
    texts = [outcome for outcome in ComparedBy.first_of(evidence) if outcome.declared.kind == "perplexity"]
    columns: dict[tuple[str, float, str], dict[str, float]] = {}
    for compared in comparisons(evidence, texts):
        columns[compared.model, compared.ratio, compared.outcome.name] = {
            method: mean(outcomes)
            for (method, recovery), outcomes in compared.sides.items()
            if recovery == RECOVERY
        }
    return pd.DataFrame(columns)


def answers(evidence: Evidence) -> pd.DataFrame:
    """Return by how many bits per byte of right answers each candidate has more than entropy, on each model.

    `holm` is the p-value after Holm's correction over all of them and all models. Intervals of one draw are over
    documents alone.
    """
    rows: list[tuple[str, str, float, float]] = []
    bits = [outcome for outcome in ComparedBy.first_of(evidence) if outcome.declared.kind == "gold_bpb"]
    for compared in comparisons(evidence, bits):
        for method, recovery in compared.sides:
            if recovery == RECOVERY and method != PAPERS:
                difference = compared.difference((method, RECOVERY), (PAPERS, RECOVERY))
                effect = estimate(difference)
                effect = effect if effect.known else estimate(replace(difference, fixed=True))
                rows.append((method, compared.model, effect.value, effect.p_value()))
    more = pd.DataFrame(rows, columns=["method", "model", "bits", "p"])
    return more.assign(holm=holm(more["p"]))


def worse(answered: pd.DataFrame) -> list[str]:
    """Return the candidates with significantly more bits per byte on any model."""
    return sorted({*answered.loc[(answered["holm"] < ALPHA) & (answered["bits"] > 0), "method"]})


def ranked(values: pd.DataFrame, study: Study) -> Ranked:
    """Rank candidates, and take one by the declared rule.

    Args:
        values: log perplexities, a row a candidate, and a column a model, ratio and text.
        study: the study that has the candidates as methods.
    """
    by_model = values.rank().T.groupby(level=0).mean().T
    means = by_model.mean(axis=1).sort_values(kind="stable")
    by_model, first = by_model.loc[means.index], means.index[0]
    # Who is first, or nearly, without each model in turn.
    rivals = [*_firsts(by_model)]
    stable = all(first in tied for tied in rivals)
    contenders = {*_tied(means)}
    contenders |= set() if stable else {name for tied in rivals for name in tied}
    cheap = [name for name in means.index if name in contenders and not _takes_gradients(name, study)]
    return Ranked(by_model, (cheap or [first])[0], stable)


def _firsts(by_model: pd.DataFrame) -> Iterator[list[str]]:
    for model in by_model:
        means = by_model.drop(columns=model).mean(axis=1)
        yield _tied(means)


def _tied(means: pd.Series) -> list[str]:
    """Return the candidates whose mean rank is the lowest, to a tie, whatever thirds round to."""
    return [*means[(means - means.min()).round(9) <= TIE].index]


def _takes_gradients(method: str, study: Study) -> bool:
    return CRITERIA.load(study.methods[method].criterion or method).needs == "gradient"


class Outcome(NamedTuple):
    """The rule's outcome, for exports that hold unequal widths and for those that do not."""

    values: pd.DataFrame
    """As `log_perplexities` has them."""
    answered: pd.DataFrame
    """As `answers` has them."""
    out: list[str]
    compact: Ranked
    plain: Ranked


def decided(several: Sequence[Evidence]) -> Outcome:
    """Apply the rule to the results of studies of the same candidates, each on its own models.

    Each study has its own correction for several comparisons.

    Raises:
        HfpruneError: the studies have different candidates.
    """
    for evidence in several[1:]:
        if {*evidence.study.methods} != {*several[0].study.methods}:
            raise HfpruneError(f"{evidence.folder}: has other candidates than {several[0].folder}")
    values = pd.concat([log_perplexities(evidence) for evidence in several], axis=1)
    answered = pd.concat([answers(evidence) for evidence in several], ignore_index=True)
    study, out = several[0].study, worse(answered)
    left = values.drop(index=out)
    equal = [name for name in left.index if study.methods[name].allocation.rule == "uniform"]
    return Outcome(values, answered, out, ranked(left, study), ranked(left.loc[equal], study))


def table(several: Sequence[Evidence], names: Mapping[str, str]) -> str:
    """Return what the rule reads of each candidate as a Markdown table; those that are left stand first, by rank.

    Columns: the bits per byte of right answers less those of entropy on each model by its name, with a star where
    that is significant; the perplexity per that of entropy, a geometric mean with the same weight for each model;
    and the mean rank among those that are left, of all and of those layer by layer.
    """
    outcome, words = decided(several), labels(several[0].study)
    models = [model for evidence in several for model in evidence.models]
    compact, equal = outcome.compact.over_models, outcome.plain.over_models
    beside = np.exp((outcome.values - outcome.values.loc[PAPERS]).T.groupby(level=0).mean().mean())
    answered = outcome.answered.set_index(["method", "model"])
    stars = np.where(answered["holm"] < ALPHA, "*", "")
    shown = answered["bits"].map("{:+.3f}".format).str.replace("-", "−") + stars
    rows = [
        [
            words[name].label,
            *(shown.get((name, model), "") for model in models),
            f"{beside[name]:.3f}",
            f"{compact[name]:.1f}" if name in compact else "out",
            f"{equal[name]:.1f}" if name in equal else "",
        ]
        for name in [*compact.index, *beside[outcome.out].sort_values().index]
    ]
    heads = ["candidate", *(names[model] for model in models), "perplexity", "rank", "layer by layer"]
    return tabulate(rows, heads, "pipe", disable_numparse=True)


def main() -> None:
    """Print the table of the committed results, and what the rule takes, for each decision."""
    for studies in load(Tables, Path("findings") / TABLES).candidates.values():
        several = [Evidence(Path("results") / study) for study in studies]
        names = {model: model for evidence in several for model in evidence.models}
        outcome, words = decided(several), labels(several[0].study)
        print(f"{' and '.join(studies)}:", table(several, names), sep="\n")
        for name, side in (("unequal widths", outcome.compact), ("equal widths", outcome.plain)):
            first = words[side.by_model.index[0]].label
            print(
                f"{name}: {words[side.taken].label}; first is {first}, "
                f"{'stable' if side.stable else 'not stable'} when a model is left out"
            )
        print()


if __name__ == "__main__":
    main()
