"""The meaning of a study's numbers: label, unit, direction and items of every metric of every measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from hfprune.errors import HfpruneError
from hfprune.measurement import MEASURES, Measure, Metric
from hfprune.paper.printed import AVERAGE, MARGIN
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
        Metric("seconds", "Time", unit="s", better="lower", shown="{:.1f}", repeatable=False),
        Metric(
            "peak_memory_bytes",
            "Peak memory",
            unit="GB",
            better="lower",
            shown="{:.2f}",
            scale=1e-9,
            repeatable=False,
        ),
    ),
}
# The headings under which the page lists them.
SUITE_CAPABILITIES = {"cost": "Cost of scoring", "size": "Size", "recovery": "Recovery"}
# The measures that the paper's own tables show, by the names of their classes; see `Declarations.in_paper`.
ALL_SHOWN, FIRST_SHOWN = ("fidelity", "perplexity"), ("zeroshot", "latency", "cost")

# The metrics of a zero-shot measure that are means over tasks.
OF_TASKS = (MARGIN, AVERAGE)


@dataclass(frozen=True)
class Declaration:
    """A metric of a measure that a study names `measure`; `kind` is the name of the measure's class."""

    measure: str
    kind: str
    per_task: bool
    metric: Metric
    capability: str = "Other"
    units: str = "items"
    text: str = ""
    """The name in the catalogue of the text that a measure reads, where that tells measures of a kind apart."""

    @property
    def label(self) -> str:
        """The metric's label, with the measure's name where that is not the name of its class."""
        label = self.metric.label
        return label if self.measure == self.kind else f"{label}, {self.measure}"

    def relabelled(self, label: str) -> Declaration:
        """Return the declaration with another label of its metric."""
        return replace(self, metric=replace(self.metric, label=label))

    @property
    def noun(self) -> str:
        """The label within a sentence; an abbreviation keeps its first capital."""
        return within_sentence(self.label)

    @property
    def neutral(self) -> float:
        """The value of no effect: 1 where cells are compared by a ratio, else 0."""
        return float(self.metric.effect == "ratio")

    @property
    def unit(self) -> str:
        """The unit of an effect: percentages differ by points, and a ratio has none."""
        if self.metric.effect == "ratio":
            return ""
        return "points" if self.metric.unit == "%" else self.metric.unit

    @property
    def heading(self) -> str:
        """The name of an effect for readers, with its unit."""
        about = f" on {self.text}" if self.text else f", {self.measure}"
        if self.measure == self.kind:
            about = ""
        if self.metric.effect == "ratio":
            return f"{self.metric.label} ratio{about}"
        heading = f"Δ {within_sentence(self.metric.label)}{about}"
        return f"{heading} ({self.unit})" if self.unit else heading

    @property
    def outcome(self) -> str:
        """The name of the outcome, without that of the measure: see `Declarations.outcomes`."""
        if self.kind == "zeroshot" and self.metric.unit == "%":
            return "points"
        return f"{self.metric.name}_ratio" if self.metric.effect == "ratio" else self.metric.name

    def shown(self, effect: float) -> float:
        """Return an effect on outcomes per item as readers see it: a ratio, or a difference in the unit shown."""
        return float(np.exp(effect)) if self.metric.effect == "ratio" else self.metric.scale * effect


class Declarations:
    """The declarations of a study: every metric that its measures and the suite itself may report."""

    def __init__(self, rows: Iterable[Declaration]) -> None:
        self.rows = [*rows]
        self._by_metric = {(row.measure, row.metric.name): row for row in self.rows}
        self.kinds = {row.measure: row.kind for row in self.rows}

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self.rows)

    def of_kind(self, *kinds: str) -> list[str]:
        """Return the names of all measures of these kinds; the name of an undeclared kind is the kind itself."""
        names = [measure for measure, kind in self.kinds.items() if kind in kinds]
        return names + [kind for kind in kinds if kind not in self.kinds.values()]

    def first(self, kind: str) -> str:
        """Return the measure with the name of its kind, else the first measure of the kind."""
        return kind if self.kinds.get(kind) == kind else self.of_kind(kind)[0]

    def in_paper(self) -> list[str]:
        """Return the measures that the paper's own tables show, by their names in the study."""
        return [*self.of_kind(*ALL_SHOWN), *map(self.first, FIRST_SHOWN), "size", "recovery"]

    def kind(self, measure: str) -> str:
        """Return the name of a measure's class; for an undeclared measure, its own name."""
        return self.kinds.get(measure, measure)

    def find(self, measure: str, metric: str) -> Declaration:
        """Return the declaration of a metric; if there is none, its class's default, or else its bare name."""
        if declared := self._by_metric.get((measure, metric)):
            return declared
        defaults = {row.metric.name: row for row in self.by_default(measure)}
        bare = Metric(metric, metric.replace("_", " "))
        return defaults.get(metric, Declaration(measure, self.kind(measure), False, bare))

    @staticmethod
    def by_default(measure: str) -> list[Declaration]:
        """Return the declarations of a measure with its default settings; none if there is no such measure."""
        try:
            return _declared(measure, measure, MEASURES.load(measure).model_construct())
        except (HfpruneError, AttributeError):
            return []

    def label_of(self, metric: str) -> str:
        """Return the label of a metric of the model's outputs, or the bare name of another metric."""
        rows = [row for kind in ALL_SHOWN for row in (*self.rows, *self.by_default(kind)) if row.kind == kind]
        labels = {row.metric.name: row.metric.label for row in reversed(rows)}
        return labels.get(metric, metric.replace("_", " "))

    def primary(self) -> Iterator[Declaration]:
        """Yield the first metric of each measure, which represents it."""
        for _, rows in groupby(self.rows, lambda row: row.measure):
            yield next(rows)

    def outcomes(self) -> dict[str, Declaration]:
        """Return every metric that compares two cells by their items, by the name of the outcome.

        This is the metric's name, with `_ratio` if sides are compared by a ratio, or `points` for accuracy. The
        measure's name and a dot precede it if the study names the measure otherwise than its class, or if another
        measure has the plain name. Zero-shot accuracy has only the mean over tasks.
        """
        rows = [
            row
            for row in self.rows
            if row.metric.items and (row.kind != "zeroshot" or row.metric.name in OF_TASKS)
        ]
        plain: dict[str, Declaration] = {}
        # The paper's measures take the plain names first.
        for row in sorted(rows, key=lambda row: row.kind not in (*ALL_SHOWN, *FIRST_SHOWN)):
            if row.measure == row.kind:
                plain.setdefault(row.outcome, row)
        return {
            row.outcome if plain.get(row.outcome) is row else f"{row.measure}.{row.outcome}": row
            for row in rows
        }

    def first_outcomes(self) -> dict[str, Declaration]:
        """Return those of the `outcomes` that are the first metric of their measure, which represents it."""
        first = {(row.measure, row.metric.name) for row in self.primary()}
        return {name: row for name, row in self.outcomes().items() if (row.measure, row.metric.name) in first}


def within_sentence(label: str) -> str:
    """Return a label as it stands within a sentence; an abbreviation keeps its capitals."""
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def declare(study: Study) -> Declarations:
    """Return the declarations of a study: its measures, then cost, size and recovery (`SUITE`)."""
    kinds = {name: entry.measure or name for name, entry in study.measures.items()}
    measures = study.make_measures()
    texts = {name: (kinds[name], getattr(measure, "corpus", "")) for name, measure in measures.items()}
    shared = Counter(texts.values())
    own = [
        replace(row, text=texts[name][1] if shared[texts[name]] == 1 else "")
        for name, measure in measures.items()
        for row in _declared(name, kinds[name], measure)
    ]
    suite = [
        Declaration(name, name, False, metric, SUITE_CAPABILITIES[name])
        for name, metrics in SUITE.items()
        for metric in metrics
    ]
    # All rows of a measure are together, those of the study first.
    rows: dict[str, dict[str, Declaration]] = {}
    for row in (*own, *suite):
        rows.setdefault(row.measure, {}).setdefault(row.metric.name, row)
    return Declarations(row for by_metric in rows.values() for row in by_metric.values())


def _declared(name: str, kind: str, measure: Measure) -> list[Declaration]:
    return [
        Declaration(name, kind, measure.per_task, metric, measure.capability, measure.units)
        for metric in measure.metrics()
    ]
