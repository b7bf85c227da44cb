"""What `effects` adds to the tables of `collect`: one function, which the check runs too."""

import pandas as pd

from hfprune.effects.slopes import slopes
from hfprune.effects.standard import effects, rows_of
from hfprune.effects.variation import over_draws
from hfprune.effects.verdicts import evaluate
from hfprune.paper.relations import Paper
from hfprune.results.answers import answers
from hfprune.results.effect_rows import table
from hfprune.results.evidence import Evidence
from hfprune.study import paths
from hfprune.study.added_effects import ADDED


def analysed(evidence: Evidence, paper: Paper) -> dict[str, pd.DataFrame]:
    """Return effects, verdicts, the variation over draws and the commonest answers by file, as in `ANALYSED`."""
    claims, about_claims = evaluate(paper, evidence)
    rows = [*effects(evidence), *slopes(evidence), *about_claims]
    for name in evidence.study.effects:
        added = ADDED.load(name)()
        rows += added.rows(evidence) or rows_of(added, evidence)
    return {
        paths.EFFECTS: table(rows),
        paths.CLAIMS: claims,
        paths.DRAWS: over_draws(evidence),
        paths.ANSWERS: answers(evidence.results),
    }
