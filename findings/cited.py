"""Numbers that the page cites: effects of studies by name, each with the row that it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from findings.sources import Column, Selection
from hfprune.errors import HfpruneError, nearest
from hfprune.results.declarations import Declarations, declare
from hfprune.results.effect import Effect
from hfprune.results.effect_rows import read_claims, read_effects
from hfprune.results.files import RECORDS, read_union
from hfprune.rounding import percent
from hfprune.settings import load
from hfprune.study.labels import labels
from hfprune.study.study import Study

# The columns that a selection chooses by.
COORDINATES = [
    *("question", "model", "calibration", "sequences", "ratio"),
    *("method", "recovery", "against", "against_recovery"),
]
# Labels that are no names, and so are small within a sentence.
WORDS = {"Entropy", "Cross-entropy", "Distillation", "Magnitude", "Random"}
# The columns that may tell the rows of a selection apart, in the order of their names on the page.
TELLING = [
    "model",
    "calibration",
    "sequences",
    "measure",
    "method",
    "recovery",
    "against",
    "outcome",
    "ratio",
]


@dataclass(frozen=True)
class Cited:
    """An effect of the page, and the row of a table that it is."""

    name: str
    """What tells it apart from the others of its selection, in words."""
    effect: Effect
    row: Mapping[str, Any] = field(repr=False)
    """As the table has it, but for `base`, which is the other side's own of `effect`."""

    @property
    def verdict(self) -> str:
        """The verdict of a claim; "" of any other effect."""
        return str(self.row.get("verdict", ""))


class Studies:
    """The tables of the studies that the page is made of."""

    def __init__(self, results: Path, models: Mapping[str, str], texts: Mapping[str, str]) -> None:
        """Take the folder of all results, and the names of models and of texts (by measure) on the page."""
        self.results, self.models, self.texts = results, models, texts
        self.table = cache(self._table)
        self.declared = cache(self._declared)
        self.labels = cache(self._labels)

    def _table(self, study: str, file: str) -> pd.DataFrame:
        path = self.results / study / file
        if not path.exists():
            known = sorted(one.name for one in self.results.iterdir() if one.is_dir())
            raise HfpruneError(f"{path}: is not there{nearest(study, known)}")
        readers = {"effects.csv": read_effects, "claims.csv": lambda path: read_claims(path.parent)}
        rows = readers.get(file, pd.read_csv)(path)
        return rows.assign(model=rows["model"].replace(self.models))

    def study(self, name: str) -> Study:
        """Return the study that a folder of results is of."""
        return load(Study, self.results / name / "study.yaml")

    def _declared(self, study: str) -> Declarations:
        return declare(self.study(study))

    def _labels(self, study: str) -> dict[str, str]:
        return {name: label.label for name, label in labels(self.study(study)).items()} | {"dense": "Dense"}

    def label(self, study: str, method: str) -> str:
        """Return the name of a method of a study within a sentence."""
        name = self.labels(study).get(method, method)
        return name[0].lower() + name[1:] if name.partition(",")[0] in WORDS else name

    def select(self, asked: Selection, rows: pd.DataFrame, study: str) -> list[Cited]:
        """Return the effects of a selection, in the order of the table, named by what differs among them.

        Raises:
            HfpruneError: there is none, or two have the same name.
        """
        for name in COORDINATES:
            rows = _of(rows, name, getattr(asked, name))
        rows = _of(_of(rows, "outcome", asked.outcome), "task", asked.task).reset_index(drop=True)
        if rows.empty:
            raise HfpruneError(f"no row of {study} is {_said(asked)}")
        names = self.names(rows, study)
        if len({*names}) < len(names):
            raise HfpruneError(f"two rows of {study} are {_said(asked)}, both {names[0]!r}: say which")
        return [*self._cited(rows, names, study, turned=asked.turned)]

    def _cited(
        self, rows: pd.DataFrame, names: Sequence[str], study: str, *, turned: bool
    ) -> Iterator[Cited]:
        for name, row in zip(names, rows.to_dict("records"), strict=True):
            about = {str(key): value for key, value in row.items()}
            effect = Effect.of_row(about)
            if turned:  # then the other side is the method
                about["base"] = about["base"] * effect.value if effect.ratio else about["base"] + effect.value
            yield Cited(name, effect.turned() if turned else effect, about)

    def names(self, rows: pd.DataFrame, study: str) -> list[str]:
        """Return what tells rows apart, in words; where nothing does, what they are of."""
        differ = [name for name in TELLING if rows[name].nunique(dropna=False) > 1]
        if (rows["against"] == rows["method"]).all():
            differ = [name for name in differ if name != "against"]
        if "measure" in differ:
            # One outcome on several texts, or several outcomes.
            several = rows["metric"].nunique() > 1 or not {*rows["measure"]} <= {*self.texts}
            differ.remove("measure" if several else "outcome")
        return [", ".join(self._named(row, study, differ or ["model"])) for row in rows.to_dict("records")]

    def _named(self, row: Mapping[Any, Any], study: str, differ: Sequence[str]) -> Iterator[str]:
        """Yield what tells a row apart."""
        for name in differ:
            value = row[name]
            match name:
                case "sequences":
                    yield f"{value:,} sequences"
                case "ratio":
                    yield from filter(None, [percent(value)])
                case "method" | "against":
                    yield self.label(study, value)
                case "measure":
                    yield self.texts[value]
                case "outcome":
                    label = self.declared(study).find(row["measure"], row["metric"]).metric.label
                    yield label[:1].lower() + label[1:] if label[1:2].islower() else label
                case _:
                    yield str(value)

    def changed(self, names: Sequence[str]) -> str:
        """Return the studies of which results were measured from a changed tree, with their shares, in words."""
        shares = {
            name: read_union(self.results / name / RECORDS)["commit"].str.endswith("+changes")
            for name in names
        }
        return ", ".join(f"`{name}` {percent(share.mean())}" for name, share in shares.items() if share.any())

    def column(self, asked: Column) -> str:
        """Return a number that is no effect, as text."""
        rows = self.table(asked.study, f"{asked.table}.csv")
        for name, value in asked.where.items():
            rows = rows[rows[name].isna()] if value is None else rows[rows[name] == value]
        if rows.empty or rows[asked.column].isna().any():
            raise HfpruneError(f"{asked.study}: no {asked.column} of {asked.table}.csv where {asked.where}")
        return asked.form.format(asked.scale * rows[asked.column].mean())


def _of(rows: pd.DataFrame, column: str, wanted: Any) -> pd.DataFrame:
    if wanted is None:
        return rows
    return rows[rows[column].isin(wanted if isinstance(wanted, list) else [wanted])]


def _said(asked: Selection) -> str:
    given = asked.model_dump(exclude_defaults=True, exclude={"study", "joint", "claim", "turned", "bar"})
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "asked for"
