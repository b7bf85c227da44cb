"""The meaning of a study's numbers: label, unit, direction and items of every metric of every measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from hfprune.errors import HfpruneError
from hfprune.measurement import MEASURES, Measure, Metric
from hfprune.study.study import Study

# The metrics that scoring, planning and recovery report, beside those of a study's measures.
SUITE = {
    "cost": (
        Metric("sequences", "Sequences", shown="{:,.0f}"),
        Metric("agreement", "Agreement", better="higher"),
    ),
    "size": (
        Metric("parameters", "Parameters", better="lower", shown="{:,.0f}"),
        Metric("parameter_ratio", "Removed", unit="%", shown="{:.1f}", scale=100),
        Metric("parameters_kept", "Kept", unit="%", shown="{:.1f}", scale=100),
        Metric("not_applicable", "Not applicable", shown="{:.0f}"),
    ),
    "recovery": (
        Metric("first_loss", "First loss", better="lower"),
        Metric("last_loss", "Last loss", better="lower"),
        Metric("steps", "Steps", shown="{:,.0f}"),
        Metric("kept_step", "Kept step", shown="{:,.0f}"),
        Metric("sequences", "Sequences", shown="{:,.0f}"),
        Metric("seconds", "Time", unit="s", better="lower", shown="{:.1f}"),
        Metric("peak_memory_bytes", "Peak memory", unit="GB", better="lower", shown="{:.2f}", scale=1e-9),
    ),
}
# The measures that the paper's own tables show, by the names of their classes; see `Declarations.of_paper`.
ALL_SHOWN, FIRST_SHOWN = ("fidelity", "perplexity"), ("zeroshot", "latency", "cost")


@dataclass(frozen=True)
class Declaration:
    """A metric of a measure that a study names `measure`; `kind` is the name of the measure's class."""

    measure: str
    kind: str
    per_task: bool
    metric: Metric

    @property
    def label(self) -> str:
        return self.metric.label + f", {self.measure}" * (self.measure != self.kind)

    def shown(self, effect: float) -> float:
        """Return an effect of outcomes per item as readers see it: a ratio, or a difference in the unit shown."""
        return float(np.exp(effect)) if self.metric.effect == "ratio" else self.metric.scale * effect


class Declarations:
    def __init__(self, rows: Iterable[Declaration]) -> None:
        self.rows = [*rows]
        self._found = {(row.measure, row.metric.name): row for row in self.rows}
        self.kinds = {row.measure: row.kind for row in self.rows}

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self.rows)

    def of_kind(self, *kinds: str) -> list[str]:
        """Return the names of all measures of these kinds; an undeclared kind is its own name."""
        found = [measure for measure, kind in self.kinds.items() if kind in kinds]
        return found + [kind for kind in kinds if kind not in self.kinds.values()]

    def first(self, kind: str) -> str:
        return kind if self.kinds.get(kind) == kind else self.of_kind(kind)[0]

    def of_paper(self) -> list[str]:
        return [*self.of_kind(*ALL_SHOWN), *map(self.first, FIRST_SHOWN), "size", "recovery"]

    def kind(self, measure: str) -> str:
        return self.kinds.get(measure, measure)

    def find(self, measure: str, metric: str) -> Declaration:
        """Return the declaration of a metric; if it has none, its class's default, or else its bare name."""
        if found := self._found.get((measure, metric)):
            return found
        of_class = {row.metric.name: row for row in _by_default(measure)}
        bare = Metric(metric, metric.replace("_", " "))
        return of_class.get(metric, Declaration(measure, self.kind(measure), False, bare))

    def primary(self) -> Iterator[Declaration]:
        for _, rows in groupby(self.rows, lambda row: row.measure):
            yield next(rows)

    def effects(self) -> dict[str, Declaration]:
        """Return the metric that compares two methods, for each measure with outcomes per item.

        The keys are names of effects: the metric's name, with `_ratio` if the effect is a ratio, or `points` for
        accuracy. The measure's name precedes it if the study gives the measure another name than its class, or if
        another measure has the plain name.
        """
        rows = [row for row in self.primary() if row.metric.items]
        plain: dict[str, Declaration] = {}
        # The paper's measures take the plain names first.
        for row in sorted(rows, key=lambda row: row.kind not in (*ALL_SHOWN, *FIRST_SHOWN)):
            if row.measure == row.kind:
                plain.setdefault(_effect(row), row)
        return {
            _effect(row) if plain.get(_effect(row)) is row else f"{row.measure}.{_effect(row)}": row
            for row in rows
        }


def _effect(row: Declaration) -> str:
    if row.kind == "zeroshot" and row.metric.unit == "%":
        return "points"
    return row.metric.name + "_ratio" * (row.metric.effect == "ratio")


def declare(study: Study) -> Declarations:
    kinds = {name: entry.measure or name for name, entry in study.measures.items()}
    own = [row for name, made in study.make_measures().items() for row in _declared(name, kinds[name], made)]
    suite = [Declaration(name, name, False, metric) for name, metrics in SUITE.items() for metric in metrics]
    # All rows of a measure are together, those of the study first.
    rows: dict[str, dict[str, Declaration]] = {}
    for row in (*own, *suite):
        rows.setdefault(row.measure, {}).setdefault(row.metric.name, row)
    return Declarations(row for of_measure in rows.values() for row in of_measure.values())


def _declared(name: str, kind: str, made: Measure) -> list[Declaration]:
    return [Declaration(name, kind, made.per_task, metric) for metric in made.metrics()]


def _by_default(name: str) -> list[Declaration]:
    try:
        return _declared(name, name, MEASURES.load(name).model_construct())
    except (HfpruneError, AttributeError):
        return []
