"""Numbers that the page cites: effects of studies, each with its row."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

import pandas as pd

from findings.markdown import linked, unpadded
from findings.selections import remedy, values
from hfprune.effects.questions import CLAIM, REFERENCE
from hfprune.effects.verdicts import ClaimRow
from hfprune.errors import HfpruneError, nearest
from hfprune.results.declarations import within_sentence
from hfprune.results.effect import Effect
from hfprune.results.effect_rows import EffectRow
from hfprune.results.reader import Results
from hfprune.rounding import DIGITS, percent
from hfprune.study import paths

# Labels that are no proper names, and so are lower-case within a sentence.
WORDS = {"Entropy", "Cross-entropy", "Distillation", "Magnitude", "Random"}
# The columns that may distinguish the rows of a selection, in the order of their names on the page.
TELLING = [
    *("model", "calibration", "sequences", "measure", "method", "recovery", "against", "outcome", "ratio")
]


@dataclass(frozen=True)
class Cited:
    """An effect of the page, and the row of the table that it is from."""

    name: str
    """What distinguishes it from the others of its selection, in words."""
    effect: Effect
    row: EffectRow = field(repr=False)
    """The row, with its sides and `base` in the order of `effect`."""
    claim: ClaimRow | None = field(default=None, repr=False)
    study: str = ""
    """The study of the row of a claim."""

    @classmethod
    def of_row(cls, name: str, row: EffectRow, *, turned: bool) -> Self:
        """Return the effect of a row or, if `turned`, that of the other side against the method."""
        effect = row.effect
        if turned:
            base = math.nan if math.isnan(row.base) else row.own
            effect = effect.turned()
            row = row._replace(
                method=row.against,
                recovery=row.against_recovery,
                against=row.method,
                against_recovery=row.recovery,
                base=base,
            )
            row = row._replace(value=effect.value, low=effect.low, high=effect.high)
        return cls(name, effect, row)

    @property
    def ratio(self) -> float | None:
        """The share of parameters removed; None where nothing is."""
        return None if self.row.ratio is None or math.isnan(self.row.ratio) else self.row.ratio

    @property
    def verdict(self) -> str:
        """The verdict of a claim; "" for any other effect."""
        return self.claim.verdict if self.claim else ""


def effect_rows(rows: pd.DataFrame) -> list[EffectRow]:
    """Return the rows of a table of effects; a missing ratio is None."""
    lines = rows[[*EffectRow._fields]].itertuples(index=False, name=None)
    effects = [EffectRow(*line) for line in lines]
    return [row if row.ratio == row.ratio else row._replace(ratio=None) for row in effects]


def check_rows(path: Path, rows: pd.DataFrame) -> None:
    """Require that each effect lies in its own interval, and a claim has the number of the row with its sides.

    Raises:
        HfpruneError: names the first row that does not.
    """
    compared: dict[tuple[object, ...], Effect] = {}
    for row in effect_rows(rows):
        effect = row.effect
        where = f"{row.question}, {row.model}, {row.method} against {row.against}, {row.outcome}"
        said = f"{path}: {where} is {effect}"
        if effect.has_interval and not effect.low <= effect.value <= effect.high:
            raise HfpruneError(f"{said}, which its own interval does not hold")
        sides = (row.method, row.recovery), (row.against, row.against_recovery)
        place = row.model, row.ratio, row.calibration, row.sequences, row.outcome, row.task, row.unit
        if row.question == REFERENCE:
            compared |= {(*place, *sides): effect, (*place, *sides[::-1]): effect.turned()}
        elif row.question == CLAIM:
            twin = compared.get((*place, *sides), effect)
            if not math.isclose(twin.value, effect.value, rel_tol=1e-6, abs_tol=10**-DIGITS):
                raise HfpruneError(f"{said}, but another row with these sides has {twin}")


class Studies:
    """The tables of the studies from which the page is made."""

    def __init__(
        self, results: Path, models: Mapping[str, str], texts: Mapping[str, str], forms: Mapping[str, str]
    ) -> None:
        """Take the folder of all results, and the names of models and texts, and the forms, of `numbers.yaml`."""
        self.folder, self.models, self.texts, self.forms = results, models, texts, forms
        self.results = cache(self._results)

    def _results(self, study: str) -> Results:
        """Return the reader of a study's results."""
        folder = self.folder / study
        if not folder.is_dir():
            raise HfpruneError(f"{folder}: is not there{nearest(study, self.names)}")
        results = Results(folder)
        check_rows(folder / paths.EFFECTS, results.effects)
        return results

    @property
    def names(self) -> list[str]:
        """All studies with results."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    def named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return rows with the page's names of their models."""
        return rows.assign(model=rows["model"].replace(self.models))

    def effects(self, study: str) -> pd.DataFrame:
        """Return the table of effects of a study."""
        return self.named(self.results(study).effects)

    def label(self, study: str, method: str) -> str:
        """Return the name of a method of a study within a sentence."""
        label = self.results(study).labels.get(method)
        name = label.label if label else method
        if method == "dense":
            name = "Dense"
        return name[0].lower() + name[1:] if name.partition(",")[0] in WORDS else name

    def calibration(self, study: str, name: str) -> str:
        """Return the name of a calibration of a study for readers: its own, or that of its text."""
        read = self.results(study).study.calibrations[name]
        return read.label or self.texts.get(read.corpus, name)

    def text(self, study: str, measure: str) -> str:
        """Return the name of the text that a measure of a study reads, for readers; "" for none."""
        entry = self.results(study).study.measures.get(measure)
        corpus = str(entry.settings.get("corpus", "")) if entry else ""
        return self.texts.get(corpus, corpus)

    def described(self, names: Sequence[str]) -> str:
        """Return studies with their descriptions as a Markdown table."""
        rows = [[linked(name, "study.yaml"), self.results(name).study.description] for name in names]
        return unpadded(rows, ["study", "what it measured"])

    def cited(self, rows: pd.DataFrame, study: str, *, turned: bool) -> list[Cited]:
        """Return the effects of rows, in the order of the table, named by their differences.

        Raises:
            HfpruneError: two have the same name.
        """
        effects = effect_rows(rows)
        names = self.telling(effects, study)
        if len({*names}) < len(names):
            raise HfpruneError(f"two rows of {study} are {names[0]!r}{remedy(effects)}")
        return [Cited.of_row(name, row, turned=turned) for name, row in zip(names, effects, strict=True)]

    def telling(self, rows: Sequence[EffectRow], study: str) -> list[str]:
        """Return what distinguishes each row, in words; where nothing does, its model."""
        differ = [column for column in TELLING if len({getattr(row, column) for row in rows}) > 1]
        if all(row.against == row.method for row in rows):
            differ = [column for column in differ if column != "against"]
        if "measure" in differ:
            # One outcome on several texts, or several outcomes.
            of_texts = all(self.text(study, row.measure) for row in rows)
            several = len({row.metric for row in rows}) > 1 or not of_texts
            differ.remove("measure" if several else "outcome")
        return [", ".join(self._told(row, study, differ or ["model"])) for row in rows]

    def _told(self, row: EffectRow, study: str, differ: Sequence[str]) -> Iterator[str]:
        """Yield the words for the columns that distinguish a row."""
        for column in differ:
            match column:
                case "sequences":
                    yield f"{row.sequences:,} sequences"
                case "ratio":
                    yield from filter(None, [percent(row.ratio)])
                case "method" | "against":
                    yield self.label(study, getattr(row, column))
                case "measure":
                    yield self.text(study, row.measure)
                case "outcome":
                    yield within_sentence(row.label)
                case _:
                    yield str(getattr(row, column))

    def column(self, selection: str) -> str:
        """Return as text a number that is no effect, selected by `dose/draws.draws_sd smollm2 64 js_distance`.

        Raises:
            HfpruneError: the study has no such table, column or row.
        """
        place, *words = selection.split()
        study, _, number = place.partition("/")
        table, _, column = number.partition(".")
        data = self.results(study)
        tables = {"draws": data.draws, "answers": data.answers}
        if table not in tables or column not in self.forms or column not in tables[table]:
            numbers = [
                f"{name}.{column}" for name in tables for column in self.forms if column in tables[name]
            ]
            raise HfpruneError(f"{study}: no number {number!r}{nearest(number, numbers)}")
        rows = self.named(tables[table])
        given = values(words, rows, place)
        if "against" in rows:  # empty for a method on its own
            rows = rows.fillna({"against": ""})
            given.setdefault("against", [""])
        for name, wanted in given.items():
            rows = rows[rows[name].isin(wanted)]
        if rows.empty or rows[column].isna().any():
            raise HfpruneError(f"{study}: no {number} is {' '.join(words)!r}")
        return self.forms[column].format(rows[column].mean()).replace("%", " %")
