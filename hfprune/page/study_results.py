"""The results of a study, as the page shows them: one row per cell and number, over draws."""

import os
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hfprune.assets.known_tasks import known_task
from hfprune.cells import DENSE
from hfprune.effects.questions import REFERENCE
from hfprune.measurement import Metric
from hfprune.report.effects import effects_of
from hfprune.report.values import all_values, headings, measures_in_order, scaled
from hfprune.results.averages import AVERAGE_WITHOUT_CROWS, MEAN
from hfprune.results.reader import Results
from hfprune.rounding import written


class Quantity(NamedTuple):
    """What a number of a cell measures; the task of a text measure is the corpus."""

    measure: str
    metric: str
    task: str


class Meaning(NamedTuple):
    """What the page says of a quantity: its name and heading, and the metric that it is of."""

    name: str
    capability: str
    metric: Metric
    outcome: str
    """The outcome of the table of effects that compares this number, or ""."""


@dataclass(frozen=True)
class StudyResults:
    """A study with its numbers in the units that readers see, and what these mean."""

    name: str
    link: str
    """The path from the page's folder to the results."""
    data: Results
    values: pd.DataFrame
    """One row per cell, over draws, and `Quantity`: `value`, `low`, `high` (in the units shown), `stderr`, `n`,
    `draws` and, beside a reference, `effect`, `reference` and `differs`. For readers: `shown`, `interval`,
    `effect_shown`, `effect_interval`, and `standing` after Holm's correction, one of `STANDINGS`, or "" without
    an interval."""
    meanings: dict[Quantity, Meaning]

    @property
    def headline(self) -> Quantity | None:
        """The number that ranks methods first: the study's primary outcome, else distance to the dense model."""
        pruned = self.values[(self.values["method"] != DENSE) & self.values["ratio"].notna()]
        there = {*map(Quantity, pruned["measure"], pruned["metric"], pruned["task"])}
        kinds = ["fidelity", "perplexity", "zeroshot", "tasks"]

        def rank(quantity: Quantity) -> tuple[bool, int, bool]:
            kind = self.data.declared.kind(quantity.measure)
            order = kinds.index(kind) if kind in kinds else len(kinds)
            primary = self.data.study.primary
            return (
                quantity.measure != primary or not self.meanings[quantity].outcome,
                order,
                quantity.task != MEAN,
            )

        ranking = [quantity for quantity, meaning in self.meanings.items() if meaning.metric.better]
        return min((quantity for quantity in ranking if quantity in there), key=rank, default=None)


def read_study(folder: Path, paper: Path, base: Path) -> StudyResults:
    """Read a results folder; links to its files are from the folder `base`.

    Raises:
        HfpruneError: the folder has no result, or a file cannot be read.
    """
    data = Results(folder, paper)
    data.check_results()
    link = Path(os.path.relpath(folder.resolve(), base.resolve())).as_posix()
    values, meanings = _values(data)
    values = _with_texts(_with_effects(data, values, meanings), meanings)
    return StudyResults(
        name=str(data.tidy["study"].iloc[0]),
        link=link,
        data=data,
        values=values,
        meanings=meanings,
    )


def _values(data: Results) -> tuple[pd.DataFrame, dict[Quantity, Meaning]]:
    levels, declared = data.levels, data.declared
    measured = all_values(levels, declared, measures_in_order(levels, declared))
    measured = scaled(measured[measured["metric"] != "not_applicable"])
    names = {Quantity(*quantity): name for quantity, name in headings(measured, declared).items()}
    outcomes = {(row.measure, row.metric.name): name for name, row in declared.outcomes().items()}
    meanings = {}
    for quantity, name in names.items():
        row = declared.find(*quantity[:2])
        is_of_task = row.kind in ("zeroshot", "tasks") and quantity.task not in (MEAN, AVERAGE_WITHOUT_CROWS)
        heading = known_task(quantity.task).capability if is_of_task else row.capability
        # The effect of a measure with several tasks is that of their mean.
        whole = quantity.task == MEAN or Quantity(*quantity[:2], MEAN) not in names
        meanings[quantity] = Meaning(
            name=name[:1].upper() + name[1:],
            capability=heading,
            metric=row.metric,
            outcome=outcomes.get(quantity[:2], "") if whole else "",
        )
    return measured, meanings


def _with_effects(data: Results, values: pd.DataFrame, meanings: dict[Quantity, Meaning]) -> pd.DataFrame:
    rows = data.effects[(data.effects["question"] == REFERENCE) & (data.effects["task"] == "")]
    whole = {quantity[:2]: quantity.task for quantity, meaning in meanings.items() if meaning.outcome}
    rows = rows[rows["outcome"].isin([meaning.outcome for meaning in meanings.values()])]
    tasks = [whole[pair] for pair in zip(rows["measure"], rows["metric"], strict=True)]
    texts = [(*effect.texts, effect.standing) for effect in effects_of(rows)]
    beside = pd.DataFrame(texts, rows.index, ["effect_shown", "effect_interval", "standing"])
    shown = rows.rename(columns={"against": "reference", "value": "effect"})
    keys = ["model", "calibrated", "ratio", "method", "recovery", "measure", "metric", "task"]
    shown = shown.assign(task=tasks)[[*keys, "reference", "differs", "resamples", "effect"]].join(beside)
    typed = shown.astype({"ratio": float, "calibrated": str, "effect": float})
    blank = dict.fromkeys(("reference", "differs", *beside.columns), "")
    return values.merge(typed, "left", on=keys).fillna(blank | {"resamples": 0})


def _with_texts(values: pd.DataFrame, meanings: dict[Quantity, Meaning]) -> pd.DataFrame:
    texts = []
    for row in values.itertuples(index=False):
        metric = meanings[Quantity(row.measure, row.metric, row.task)].metric
        numbers = [nan if pd.isna(x) else x for x in (row.value, row.low, row.high)]
        texts.append(written(metric.shown, *numbers, ratio=metric.effect == "ratio"))
    return values.join(pd.DataFrame(texts, values.index, ["shown", "interval"]))
