"""The results of a study, as the page shows them: one row per cell and number, over draws."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.averages import AVERAGE_WITHOUT_CROWS, over_seeds
from hfprune.analysis.comparison import ENDS, P_VALUES
from hfprune.analysis.declarations import Declarations, read_declarations
from hfprune.analysis.statistics import LEVEL
from hfprune.analysis.tidy import (
    CALIBRATION,
    RESULTS,
    applicable,
    read_collected,
    read_companion,
    read_labels,
    read_results,
)
from hfprune.criteria import CRITERIA
from hfprune.files import read_json
from hfprune.recovery.settings import RECOVERED
from hfprune.report.comparison import Effect, effects_shown
from hfprune.report.intervals import interval
from hfprune.report.measures import MEAN, all_values, headings, measures_in_order, scaled
from hfprune.report.style import Look, looks
from hfprune.results import DENSE, Cell
from hfprune.study import layout
from hfprune.study.labels import Label

# Kind of measure, or of a zero-shot task → what it tells about a model.
CAPABILITIES = {
    "fidelity": "Likeness to the dense model",
    "perplexity": "Language modelling",
    "wikitext": "Language modelling",
    "gold_bpb": "Probability of right answers",
    "generation": "Generation",
    "latency": "Speed",
    "cost": "Cost of scoring",
    "recovery": "Recovery",
    "size": "Size",
    "ablation": "Single neurons",
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
# Places of a method beside its reference, by the interval of their difference.
STANDINGS = BETTER, ALIKE, WORSE = "better", "not told apart", "worse"
FAMILIES = {"gradient": "gradients", "activations": "activations", "weights": "weights"}


class Measured(NamedTuple):
    """A number that the page can show: a metric of a measure on a task."""

    measure: str
    metric: str
    task: str


class Meaning(NamedTuple):
    """The presentation of a `Measured`."""

    name: str
    capability: str
    better: str
    shown: str
    logarithmic: bool
    effect: str
    """Column of the comparison that has this number's effects, or ""."""


@dataclass(frozen=True)
class StudyResults:
    """Everything that the page shows of a study."""

    name: str
    folder: Path
    link: str
    """From the page's folder to the results."""
    tidy: pd.DataFrame
    declared: Declarations
    values: pd.DataFrame
    """One row per cell over draws and `Measured`: `value`, `low`, `high` (in the units shown), `stderr`, `n`,
    `draws`, `source` (a link to the first draw's result, or "") and, beside a reference, `effect`, `effect_low`,
    `effect_high`, `reference` and `differs`. For readers: `shown`, `interval`, `effect_shown`, `effect_interval`,
    and `standing`, one of `STANDINGS` or "" if there is no interval beside a reference."""
    meanings: dict[Measured, Meaning]
    labels: dict[str, Label]
    looks: dict[str, Look]
    families: dict[str, str]
    claims: pd.DataFrame
    comparison: pd.DataFrame
    marks: pd.DataFrame
    provenance: dict
    blanks: int
    """Number of cells that are not applicable."""

    @property
    def commits(self) -> list[str]:
        """The commits of this suite that the results are of."""
        return [commit for commit in self.provenance.get("git", []) if commit]

    @property
    def headline(self) -> Measured | None:
        """The number by which the methods are ranked first: distance to the dense model, if measured."""
        pruned = self.values[(self.values["method"] != DENSE) & self.values["ratio"].notna()]
        there = {*map(Measured, pruned["measure"], pruned["metric"], pruned["task"])}
        found = [place for place, meaning in self.meanings.items() if meaning.better and place in there]
        order = ["fidelity", "perplexity", "zeroshot"]
        ranks = {kind: i for i, kind in enumerate(order)}
        kind = self.declared.kind
        found.sort(key=lambda place: (ranks.get(kind(place.measure), len(order)), place.task != MEAN))
        return found[0] if found else None


def read_study(folder: Path, base: Path) -> StudyResults:
    """Read the results of a study; tables other than the tidy one may be missing.

    Raises:
        HfpruneError: the tidy table is missing, or a table cannot be read.
    """
    everything = read_results(folder / RESULTS)
    tidy = applicable(everything)
    declared = read_declarations(folder, everything["measure"])
    claims, comparison = (
        read_collected(folder / name) if (folder / name).exists() else pd.DataFrame()
        for name in (layout.CLAIMS, layout.COMPARISON)
    )
    provenance, labels = folder / "provenance.json", read_labels(folder)
    values, meanings = _values(tidy, declared)
    values = _with_texts(_with_effects(values, meanings, comparison), meanings, effects_shown(declared))
    marks = read_companion(folder, CALIBRATION)
    cells = ["model", "method", "ratio", "recovery"]
    link = os.path.relpath(folder.resolve(), base.resolve())
    return StudyResults(
        name=str(everything["study"].iloc[0]) if len(everything) else folder.name,
        folder=folder,
        link=Path(link).as_posix(),
        tidy=tidy,
        declared=declared,
        values=_with_sources(values, tidy, folder, Path(link).as_posix()),
        meanings=meanings,
        labels=labels,
        looks=looks({*everything["method"]}, labels),
        families=_families(everything["method"].unique(), marks),
        claims=claims,
        comparison=comparison,
        marks=marks,
        provenance=read_json(provenance) if provenance.exists() else {},
        blanks=len(everything.drop(tidy.index)[cells].drop_duplicates()),
    )


def _values(tidy: pd.DataFrame, declared: Declarations) -> tuple[pd.DataFrame, dict[Measured, Meaning]]:
    """Return the values over draws with their intervals, and the meanings of all of them in order."""
    measured = all_values(tidy, declared, measures_in_order(tidy, declared))
    measured = scaled(measured[measured["metric"] != "not_applicable"], declared)
    names = {Measured(*place): name for place, name in headings(measured, declared).items()}
    effects = {(row.measure, row.metric.name): column for column, row in declared.effects().items()}
    meanings = {}
    for place, name in names.items():
        metric, kind = declared.find(place.measure, place.metric).metric, declared.kind(place.measure)
        # The effect of a measure with several tasks is that of their mean.
        whole = place.task == MEAN or not any(
            other[:2] == place[:2] and other.task == MEAN for other in names
        )
        capability = TASK_CAPABILITIES.get(place.task) if kind == "zeroshot" else CAPABILITIES.get(kind)
        meanings[place] = Meaning(
            name=name[:1].upper() + name[1:],
            capability=capability or "Other",
            better=metric.better,
            shown=metric.shown,
            logarithmic=metric.effect == "ratio",
            effect=effects.get(place[:2], "") if whole else "",
        )
    parts = []
    summary = over_seeds(measured)
    for place, rows in summary.groupby(["measure", "metric", "task"], sort=False):
        low, high = interval(rows, meanings[Measured(*place)].logarithmic)
        parts.append(rows.assign(low=low, high=high))
    values = pd.concat(parts or [summary.assign(low=np.nan, high=np.nan)], ignore_index=True)
    return values.rename(columns={"seeds": "draws"}), meanings


def _with_effects(
    values: pd.DataFrame, meanings: dict[Measured, Meaning], comparison: pd.DataFrame
) -> pd.DataFrame:
    """Add the effects of the comparison to the values that they compare."""
    columns = ["effect", "effect_low", "effect_high", "effect_holm"]
    values = values.assign(**dict.fromkeys(columns, np.nan), reference="", differs="")
    if comparison.empty:
        return values
    rows = comparison[comparison["seed"].isna()]
    by = {(row["model"], row["ratio"], row["method"]): row for _, row in rows.iterrows()}
    for i, value in values[values["recovery"] == "none"].iterrows():
        effect = meanings[Measured(value["measure"], value["metric"], value["task"])].effect
        row = by.get((value["model"], value["ratio"], value["method"]))
        if not effect or row is None or pd.isna(row.get(effect)):
            continue
        # Tables from before the correction lack it.
        values.loc[i, columns] = [row.get(effect + end, np.nan) for end in (*ENDS, P_VALUES[1])]
        values.loc[i, ["reference", "differs"]] = [row["reference"], row["differs"]]
    return values


def _with_texts(
    values: pd.DataFrame, meanings: dict[Measured, Meaning], effects: dict[str, Effect]
) -> pd.DataFrame:
    """Add the numbers as readers see them, and each method's standing beside its reference."""
    texts = []
    for row in values.itertuples(index=False):
        meaning = meanings[Measured(row.measure, row.metric, row.task)]
        effect = effects.get(meaning.effect)
        form = effect.shown if effect else meaning.shown
        texts.append(
            {
                "shown": number(row.value, meaning.shown),
                "interval": between(row.low, row.high, meaning.shown),
                "effect_shown": "" if pd.isna(row.effect) else number(row.effect, form),
                "effect_interval": between(row.effect_low, row.effect_high, form),
                "standing": _standing(row, effect),
            }
        )
    columns = ["shown", "interval", "effect_shown", "effect_interval", "standing"]
    return values.join(pd.DataFrame(texts, index=values.index, columns=columns))


def between(low: float, high: float, shown: str) -> str:
    """Return an interval for readers, or "" if there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{number(low, shown)} to {number(high, shown)}"


def number(value: float, shown: str) -> str:
    """Return a number for readers, with a minus sign."""
    return shown.format(value).replace("-", "−")


def _standing(row: Any, effect: Effect | None) -> str:
    """Return the standing by the p-value that is corrected for many comparisons, or else by the interval."""
    if effect is None or not effect.better or pd.isna(row.effect_low) or pd.isna(row.effect_high):
        return ""
    ends = [effect.better * (end - (effect.than or 0)) for end in (row.effect_low, row.effect_high)]
    if row.effect_holm >= 1 - LEVEL:
        return ALIKE
    return BETTER if min(ends) > 0 else WORSE if max(ends) < 0 else ALIKE


def _with_sources(values: pd.DataFrame, tidy: pd.DataFrame, folder: Path, link: str) -> pd.DataFrame:
    """Add a link to the result of the first draw, whose JSON has its provenance, where it was kept."""
    first = tidy.groupby(["model", "method"])["seed"].min()
    sources = []
    for row in values.itertuples(index=False):
        ratio = None if pd.isna(row.ratio) else row.ratio
        cell = Cell("", row.model, row.method, ratio, int(first[row.model, row.method]), row.recovery)
        found = (path for path in _places(cell, row.measure, row.task) if (folder / path).exists())
        path = next(found, "")
        sources.append(path and f"{link}/{path}")
    return values.assign(source=sources)


def _places(cell: Cell, measure: str, task: str) -> Iterator[str]:
    """Yield where the result of a measure on a cell may lie, below the study's results."""
    folders = [layout.CELL] if cell.ratio is not None else [layout.SCORING]
    for folder in folders:
        yield f"{layout.fill(folder, cell)}/{measure}/{task}.json"
        yield f"{layout.fill(folder, cell)}/{measure}.json"
        yield f"{layout.fill(folder, cell)}/{measure}"
    own = {"cost": layout.SCORES, "size": layout.PLAN}
    if measure in own:
        yield f"{layout.fill(own[measure], cell)}.json"
    if measure == "recovery":
        yield f"{layout.fill(layout.RECOVERY, cell)}/{RECOVERED}"


def _families(methods: "np.ndarray", marks: pd.DataFrame) -> dict[str, str]:
    """Return what each method's criterion reads: gradients, activations or weights; or else `other`."""
    criteria = dict(zip(marks["method"], marks["criterion"].astype(str).str.split(",").str[0], strict=True))
    known = sorted(CRITERIA.sources(), key=len, reverse=True)
    found = {}
    for method in methods:
        # A method that reads no text has no marks; its name begins with its criterion's, as a rule.
        own = criteria.get(method) or next((name for name in known if method.startswith(name)), "")
        found[method] = FAMILIES.get(CRITERIA.load(own).needs, "other") if own in known else "other"
    return found | {DENSE: "dense"}
