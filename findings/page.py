"""The page of findings and the files beside it, from the texts in `findings/` and the tables of the studies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from findings import candidates, claims, speed
from findings.advantages import advantages
from findings.cited import Cited, Studies
from findings.claims import MARKS, Decided, named
from findings.forest import Panel, drawn
from findings.joint import analysed
from findings.sources import FigureOf, PanelOf, Selection, Sources
from findings.summary import OUTPUTS, summary
from findings.text import Text
from hfprune.effects.condition import NOT_TESTABLE
from hfprune.errors import REASON, HfpruneError, explained, nearest
from hfprune.results.effect import Effect
from hfprune.results.evidence import Evidence
from hfprune.rounding import percent

FOLDER = "findings"  # beside the page, with its figures
CHANGED = "changed"  # in the text: the studies with results from a changed tree, with their shares


class Findings:
    """All that the page is made of."""

    def __init__(self, sources: Path, results: Path, paper: Path) -> None:
        """Take the folder of the texts, that of all results, and that of the published tables."""
        self.sources, self.paper = Sources(sources), paper
        self.studies = Studies(results, self.sources.numbers.models, self.sources.numbers.texts)
        self.decided = Decided(paper, self.studies, self.sources.deciding)
        self.files: dict[str, str] = {}
        """The files beside the page that have been made, by name."""

    def made(self) -> tuple[str, dict[str, str]]:
        """Return the page, and the files beside it by name.

        Raises:
            HfpruneError: a word of the text is not what the numbers say, a declared analysis is not reported, or a
                number or figure is declared for nothing.
        """
        numbers = self.sources.numbers
        plain = {name: self.studies.column(one) for name, one in numbers.columns.items()}
        text = Text(
            self.sources.text,
            cited={name: [*self._several(name)] for name in numbers.effects},
            plain=plain | {CHANGED: self.studies.changed(self._cited_studies())},
            blocks={"figure": self._figure, "table": self._table},
            bars={name: several[0].bar for name, several in numbers.effects.items()},
        )
        page = text.rendered(self._check_reported)
        self.files["published.csv"] = advantages(self.paper).round(2).to_csv(index=False, lineterminator="\n")
        for name, table in self._joint.items():
            self.files[f"{name}.csv"] = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        return page, self.files

    def _check_reported(self, used: set[str]) -> None:
        numbers = self.sources.numbers
        cited = {one.joint for name in numbers.effects if name in used for one in numbers.effects[name]}
        if lacking := [name for name in self.sources.joints if name not in cited]:
            declared = self.sources.joints[lacking[0]].declared
            raise HfpruneError(
                f"{self.sources.text}: the joint analysis {lacking[0]!r}, declared in {declared}, is not reported"
            )
        blocks = [f"figure {name}" for name in self.sources.figures]
        blocks += [f"table {name}" for name in (*self.sources.tables.candidates, "speed")]
        every = *numbers.effects, *numbers.columns, *blocks
        if unused := [name for name in every if name not in used]:
            raise HfpruneError(f"{self.sources.text}: {unused[0]!r} is declared, and not used")
        if unknown := self.sources.summary.keys() - OUTPUTS:
            name = min(unknown)
            raise HfpruneError(f"figures.yaml: summary: draws no {name!r}{nearest(name, [*OUTPUTS])}")

    @cached_property
    def _joint(self) -> dict[str, pd.DataFrame]:
        return {name: analysed(one, self.studies.results) for name, one in self.sources.joints.items()}

    def _several(self, name: str) -> Iterator[Cited]:
        for one in self.sources.numbers.effects[name]:
            with explained(f"numbers.yaml: {name}: {REASON}", HfpruneError):
                yield from self.select(one)

    def _cited_studies(self) -> list[str]:
        """Return the studies whose numbers stand on the page."""
        effects = [one.study for several in self.sources.numbers.effects.values() for one in several]
        deciding = [study for at in self.sources.deciding.values() for study in at.values()]
        return sorted({study for study in (*effects, *deciding) if study})

    def select(self, asked: Selection) -> list[Cited]:
        """Return the effects of a selection."""
        if asked.claim:
            rows = [
                row
                for row in self.decided.rows[asked.claim]
                if (asked.model is None or row.row["model"] in asked.model)
                and (asked.ratio is None or row.row["ratio"] in asked.ratio)
            ]
            if not rows:
                raise HfpruneError(f"no row of the claim {asked.claim} is on {asked.model} at {asked.ratio}")
            return rows
        if asked.joint:
            found = self._joint[asked.joint]
            study = self.sources.joints[asked.joint].studies[0]
            named = found.assign(model=found["model"].replace(self.studies.models))
            return self.studies.select(asked, named, study)
        assert asked.study is not None
        return self.studies.select(asked, self.studies.table(asked.study, "effects.csv"), asked.study)

    def _figure(self, name: str) -> str:
        special = {"claims": self._claims, "published": self._published}
        if name in special:
            words, panels = special[name]()
            self.files[f"{name}.svg"] = drawn(panels)
        elif name == "summary":
            words, self.files["summary.svg"] = summary(self.decided, self._beside_claims())
        else:
            figures = self.sources.figures
            if name not in figures:
                raise HfpruneError(f"no figure {name!r}{nearest(name, [*figures, *special, 'summary'])}")
            words = figures[name].words
            self.files[f"{name}.svg"] = drawn([*self._panels(figures[name])])
        return f"![{words}]({FOLDER}/{name}.svg)"

    def _beside_claims(self) -> dict[str, list[Cited]]:
        """Return the effects that stand in the summary below those of a claim, by claim."""
        return {
            claim: [
                replace(one, name=named(one.row["model"], one.row["ratio"])) for one in self.select(asked)
            ]
            for claim, asked in self.sources.summary.items()
        }

    def _panels(self, figure: FigureOf) -> Iterator[Panel]:
        for panel in figure.panels:
            rows = self._of_claim(panel) if panel.claim else self._selected(panel)
            yield Panel(panel.title, rows, hollow=[*filter(_untestable, rows)])

    def _selected(self, panel: PanelOf) -> dict[str, Effect]:
        forms = panel.names or ["{}"] * len(panel.rows)
        found: dict[str, Effect] = {}
        for form, asked in zip(forms, panel.rows, strict=True):
            for one in self.select(asked):
                if (name := form.format(one.name)) in found:
                    raise HfpruneError(f"figures.yaml: {panel.title}: two rows are named {name!r}")
                found[name] = one.effect
        return found

    def _of_claim(self, panel: PanelOf) -> dict[str, Effect]:
        """Return the rows of a claim in several studies; ▸ marks those that decide."""
        assert panel.claim is not None
        deciding = {(one.name, one.row["study"]): one for one in self.decided.rows[panel.claim]}
        found = {}
        for study in panel.studies:
            for model in self.studies.models.values():
                for row in self.decided.measured(panel.claim, study, model):
                    name = named(model, row["ratio"])
                    one = deciding.get((name, study)) or self.decided.cite(row, name)
                    mark = "▸ " * ((name, study) in deciding)
                    found[f"{mark}{name}, {study}{MARKS.get(one.verdict, '')}"] = one.effect
        return found

    def _claims(self) -> tuple[str, list[Panel]]:
        """Return the deciding rows of all claims by what their effects are in, with the published ranges."""
        titles: dict[str, str] = {}
        effects: dict[str, dict[str, Effect]] = {}
        ranges: dict[str, dict[str, tuple[float, float]]] = {}
        for claim in self.decided.paper.claims:
            for one in self.decided.rows[claim.id]:
                kind = "ratio" if claim.effect == "ratio" else str(one.row["label"])
                unit = one.row["unit"] if isinstance(one.row["unit"], str) else ""
                title = "Pruned over dense model" if kind == "ratio" else kind + f", {unit}" * bool(unit)
                titles[kind] = title + " (⊘ not testable)" * (unit == "points")
                name = f"{claim.short}: {one.name}{MARKS.get(one.verdict, '')}"
                effects.setdefault(kind, {})[name] = replace(one.effect, neutral=claim.neutral)
                if ends := self.decided.published(claim.id):
                    ranges.setdefault(kind, {})[name] = (ends[0], ends[-1])
        panels = [
            Panel(title, effects[kind], ranges.get(kind, {}), [*filter(_untestable, effects[kind])])
            for kind, title in titles.items()
        ]
        return "Our effect on each claim, with its interval, and the range of published effects", panels

    def _published(self) -> tuple[str, list[Panel]]:
        """Return the published advantages of entropy, and their range with one task left out."""
        titles = {"none": "Published advantage, points, without recovery", "lora": "The same after LoRA"}
        effects: dict[str, dict[str, Effect]] = {kind: {} for kind in titles}
        ranges: dict[str, dict[str, tuple[float, float]]] = {kind: {} for kind in titles}
        for row in advantages(self.paper).to_dict("records"):
            name = f"{row['model']}, {percent(row['ratio'])}: over {row['over']}" + " ?" * bool(row["doubts"])
            half, value = 1.96 * row["stderr"], row["advantage"]
            effects[row["recovery"]][name] = Effect(value, value - half, value + half, "{:+.1f}")
            ranges[row["recovery"]][name] = row["least"], row["most"]
        panels = [Panel(titles[kind], effects[kind], ranges[kind]) for kind in titles]
        return "Published advantages of entropy, and what leaving out one task makes of them", panels

    def _table(self, name: str) -> str:
        tables = self.sources.tables
        made: dict[str, Callable[[], str]] = {
            "claims": lambda: claims.table(self.decided),
            "speed": lambda: speed.table(self.studies, tables.speed),
            **{
                decision: partial(self._candidates, studies)
                for decision, studies in tables.candidates.items()
            },
        }
        if name not in made:
            raise HfpruneError(f"no table {name!r}{nearest(name, [*made])}")
        return made[name]()

    def _candidates(self, studies: Sequence[str]) -> str:
        several = [Evidence(self.studies.results / study) for study in studies]
        return candidates.table(several, self.studies.models)


def _untestable(name: str) -> bool:
    return name.endswith(MARKS[NOT_TESTABLE])
