"""Analyses of several studies together, each declared before its results were seen."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path

import pandas as pd

from findings.sources import Joint
from hfprune.cells import Cell
from hfprune.effects.added.by_document import slopes_over_entropy
from hfprune.effects.standard import effects
from hfprune.results.effect_rows import EffectRow, table
from hfprune.results.evidence import Evidence
from hfprune.statistics.outcomes import Draw, Outcomes
from hfprune.study.calibration import Calibrated


class Several(Evidence):
    """The outcomes of several studies as if they were one: the draws of all, and the items that all have.

    The first study says what is compared; of the others, the same cells count.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Take the folders of the studies' results, of which no two share a draw."""
        super().__init__(folders[0])
        self.others = [Evidence(folder) for folder in folders[1:]]

    def outcomes(
        self, cells: list[Cell], measure: str, metric: str, tasks: list[str] | None = None
    ) -> Outcomes:
        """Return the outcomes by draw of all studies, on the items that all have.

        Raises:
            NotMeasuredError: a study did not measure them.
        """
        wanted, cell = tasks or self.tasks(measure), cells[0]
        parts = [super().outcomes(cells, measure, metric, wanted)]
        for other in self.others:
            read = Calibrated(cell.calibration, cell.sequences)
            same = other.cells_of(cell.model, cell.method, read, cell.ratio, cell.recovery)
            parts.append(other.outcomes(same, measure, metric, wanted))
        return joined(parts)


def joined(several: Sequence[Outcomes]) -> Outcomes:
    """Return outcomes of different draws as one, on the items that all have, in the order of the first."""
    firsts = [next(iter(outcomes.values())) for outcomes in several]
    common = {
        task: reduce(lambda kept, other: kept[kept.isin(other)], [first[task].index for first in firsts])
        for task in firsts[0]
    }
    outcomes_by_draw: dict[Draw | None, Mapping[str, pd.Series]] = {}
    for outcomes in several:
        for draw, by_task in outcomes.items():
            outcomes_by_draw[draw] = {task: items.loc[common[task]] for task, items in by_task.items()}
    return outcomes_by_draw


def analysed(joint: Joint, results: Path) -> pd.DataFrame:
    """Return the effects of an analysis, corrected as those of one study are."""
    evidence = Several([results / study for study in joint.studies])
    rows: Iterable[EffectRow] = effects(evidence)
    if joint.entropies:
        rows = slopes_over_entropy(evidence, Evidence(results / joint.entropies))
    return table([row for row in rows if row.model in joint.models and row.method in joint.methods])
