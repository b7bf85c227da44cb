"""The results of a study, as the page shows them: one row per cell and number, over draws."""

import json
import os
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hfprune.analysis.against_reference import ENDS, P_VALUES
from hfprune.analysis.averages import AVERAGE_WITHOUT_CROWS, MEAN
from hfprune.analysis.rounding import rounded_interval
from hfprune.analysis.statistics import LEVEL
from hfprune.report.collected import Collected
from hfprune.report.values import (
    Effect,
    all_values,
    effects_shown,
    headings,
    measures_in_order,
    scaled,
    standing,
)
from hfprune.results import DENSE

# Kind of measure, or of a zero-shot task → what it tells about a model.
CAPABILITIES = {
    "fidelity": "Likeness to the dense model",
    "perplexity": "Language modelling",
    "gold_bpb": "Probability of right answers",
    "latency": "Speed",
    "cost": "Cost of scoring",
    "recovery": "Recovery",
    "size": "Size",
}
TASK_CAPABILITIES = {
    MEAN: "Accuracy, all tasks",
    AVERAGE_WITHOUT_CROWS: "Accuracy, all tasks",
    "arc_challenge": "Science questions",
    "arc_easy": "Science questions",
    "openbookqa": "Science questions",
    "boolq": "Reading",
    "race": "Reading",
    "hellaswag": "Common sense",
    "piqa": "Common sense",
    "social_iqa": "Common sense",
    "winogrande": "Common sense",
    "truthfulqa_mc2": "Truthfulness",
    "crows_pairs_english": "Stereotypes",
}


class Quantity(NamedTuple):
    measure: str
    metric: str
    task: str


class Meaning(NamedTuple):
    name: str
    capability: str
    better: str
    shown: str
    logarithmic: bool
    effect: str
    """Column of the comparison that has this number's effects, or ""."""


@dataclass(frozen=True)
class StudyResults:
    name: str
    link: str
    """From the page's folder to the results."""
    data: Collected
    values: pd.DataFrame
    """One row per cell over draws and `Quantity`: `value`, `low`, `high` (in the units shown), `stderr`, `n`,
    `draws` and, beside a reference, `effect`, `effect_low`, `effect_high`, `reference` and `differs`. For
    readers: `shown`, `interval`, `effect_shown`,
    `effect_interval`, and `standing` by that interval, one of `STANDINGS`, or "" if there is none; `sure` says
    whether it holds by Holm's correction for all models, methods and ratios of the study together, and for the
    outcomes that it corrects together."""
    meanings: dict[Quantity, Meaning]
    provenance: dict[str, Any]

    @property
    def headline(self) -> Quantity | None:
        """The number that ranks methods first: the study's primary outcome, else distance to the dense model."""
        pruned = self.values[(self.values["method"] != DENSE) & self.values["ratio"].notna()]
        there = {*map(Quantity, pruned["measure"], pruned["metric"], pruned["task"])}
        kinds = ["fidelity", "perplexity", "zeroshot"]
        primary = {*self.data.comparison.get("primary", [])}

        def rank(quantity: Quantity) -> tuple[bool, int, bool]:
            kind = self.data.declared.kind(quantity.measure)
            order = kinds.index(kind) if kind in kinds else len(kinds)
            return self.meanings[quantity].effect not in primary, order, quantity.task != MEAN

        found = (quantity for quantity, meaning in self.meanings.items() if meaning.better)
        return min(filter(there.__contains__, found), key=rank, default=None)


def read_study(folder: Path, paper: Path, base: Path) -> StudyResults:
    data = Collected(folder, paper)
    data.check_results()
    link = Path(os.path.relpath(folder.resolve(), base.resolve())).as_posix()
    values, meanings = _values(data)
    values = _with_texts(
        _with_effects(values, meanings, data.comparison), meanings, effects_shown(data.declared)
    )
    return StudyResults(
        name=str(data.tidy["study"].iloc[0]),
        link=link,
        data=data,
        values=values,
        meanings=meanings,
        provenance=_provenance(data.records),
    )


def _provenance(records: pd.DataFrame) -> dict[str, Any]:
    said = {"hfprune": "version", "git": "commit", "packages": "packages", "hardware": "hardware"}
    found = {
        key: [*dict.fromkeys(text for text in records[column] if text not in ("", "{}"))]
        for key, column in said.items()
    }
    for key in ("packages", "hardware"):
        found[key] = [json.loads(text) for text in found[key]]
    started = sorted(text for text in records["started"] if text)
    return found | {"first_started": started[:1], "last_started": started[-1:]}


def _values(data: Collected) -> tuple[pd.DataFrame, dict[Quantity, Meaning]]:
    levels, declared = data.levels, data.declared
    measured = all_values(levels, declared, measures_in_order(levels, declared))
    measured = scaled(measured[measured["metric"] != "not_applicable"])
    names = {Quantity(*quantity): name for quantity, name in headings(measured, declared).items()}
    effects = {(row.measure, row.metric.name): column for column, row in declared.effects().items()}
    meanings = {}
    for quantity, name in names.items():
        kind, metric = declared.kind(quantity.measure), declared.find(*quantity[:2]).metric
        # The effect of a measure with several tasks is that of their mean.
        whole = quantity.task == MEAN or Quantity(*quantity[:2], MEAN) not in names
        capability = TASK_CAPABILITIES.get(quantity.task) if kind == "zeroshot" else CAPABILITIES.get(kind)
        meanings[quantity] = Meaning(
            name=name[:1].upper() + name[1:],
            capability=capability or "Other",
            better=metric.better,
            shown=metric.shown,
            logarithmic=metric.effect == "ratio",
            effect=effects.get(quantity[:2], "") if whole else "",
        )
    return measured.rename(columns={"seeds": "draws"}), meanings


def _with_effects(
    values: pd.DataFrame, meanings: dict[Quantity, Meaning], comparison: pd.DataFrame
) -> pd.DataFrame:
    cells, added = ["model", "ratio", "method"], ["reference", "differs", "resamples"]
    columns = {end: f"effect{end}" for end in (*ENDS, P_VALUES[1])}
    keys = ["recovery", *Quantity._fields]
    parts = [pd.DataFrame(columns=[*cells, *added, *columns.values(), *keys])]
    for measured, meaning in meanings.items():
        if meaning.effect in comparison:
            own = {meaning.effect + end: name for end, name in columns.items()}
            rows = comparison.loc[comparison["seed"].isna(), [*cells, *added, *own]]
            rows = rows.rename(columns=own).dropna(subset="effect")
            parts.append(rows.assign(**dict(zip(keys, ("none", *measured), strict=True))))
    effects = pd.concat([part for part in parts if len(part)] or parts)
    effects = effects.astype({"ratio": float} | dict.fromkeys(columns.values(), float))
    found = values.merge(effects, "left", on=[*cells, *keys])
    return found.fillna({"reference": "", "differs": "", "resamples": 0})


def _with_texts(
    values: pd.DataFrame, meanings: dict[Quantity, Meaning], effects: dict[str, Effect]
) -> pd.DataFrame:
    texts = []
    for row in values.itertuples(index=False):
        meaning = meanings[Quantity(row.measure, row.metric, row.task)]
        effect = effects.get(meaning.effect)
        form, neutral = (effect.shown, effect.neutral or 0) if effect else (meaning.shown, nan)
        shown, interval = shown_with_interval(
            meaning.shown, row.value, row.low, row.high, ratio=meaning.logarithmic
        )
        beside = shown_with_interval(
            form, row.effect, row.effect_low, row.effect_high, neutral=neutral, ratio=neutral == 1
        )
        stands = standing(effect, row.effect_low, row.effect_high)
        texts.append((shown, interval, *beside, stands, row.effect_holm < 1 - LEVEL))
    columns = ["shown", "interval", "effect_shown", "effect_interval", "standing", "sure"]
    return values.join(pd.DataFrame(texts, index=values.index, columns=columns))


def shown_with_interval(form: str, value: float, low: float, high: float, **about: Any) -> tuple[str, str]:
    """Return a number and its interval for readers, with a minus sign, each "" if it is missing.

    `about` is that of `hfprune.analysis.rounding.rounded_interval`.
    """
    numbers = [nan if pd.isna(x) else x for x in (value, low, high)]
    known = not any(map(isnan, numbers))
    text, *ends = (x.replace("-", "−") for x in rounded_interval(form, *numbers, **about))
    return "" if isnan(numbers[0]) else text, " to ".join(ends) if known else ""


def percent(ratio: float) -> str:
    return "" if pd.isna(ratio) else f"{100 * ratio:.3g}\N{NO-BREAK SPACE}%"


def number(value: float, shown: str) -> str:
    return "" if pd.isna(value) else shown.format(value).replace("-", "−")
