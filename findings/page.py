"""The pages of findings and the files beside them, from the texts in `findings/` and the tables of the studies."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
from scipy.stats import norm

from findings import claims, crossed, significant
from findings.advantages import advantages
from findings.cited import Cited, Studies
from findings.claims import MARKS, Decided, named
from findings.forest import Panel, drawn
from findings.selections import chosen
from findings.sources import FigureOf, PanelOf, Sources, source_of
from findings.summary import OUTPUTS, summary
from findings.text import Text
from hfprune.effects.condition import NOT_TESTABLE
from hfprune.errors import REASON, HfpruneError, explained, nearest
from hfprune.report.charts import BARS
from hfprune.results.effect import Effect
from hfprune.rounding import percent
from hfprune.statistics.estimates import LEVEL

FOLDER = "findings"  # beside the page, with its figures


class Findings:
    """The texts, studies and claims from which the pages are made."""

    def __init__(self, sources: Path, results: Path, paper: Path) -> None:
        """Take the folder of the texts, that of all results, and that of the published tables."""
        self.sources, self.paper = Sources(sources), paper
        numbers = self.sources.numbers
        self.studies = Studies(results, numbers.models, numbers.texts, numbers.columns)
        self.decided = Decided(paper, self.studies, self.sources.deciding)
        self.named = cache(self._named)
        self.files: dict[str, str] = {}
        """The files beside the page, by name."""
        self.used: set[str] = set()
        """The names and selections in the texts."""

    def rendered(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the pages by the names of their texts, and the files beside them by name.

        Raises:
            HfpruneError: a word of a text is not what the numbers say, or a declared number or figure is unused.
        """
        self.named()  # errors in there belong to no line of a text
        blocks = {
            "figure": self._figure,
            "table": self._table,
            "crossed": lambda words: crossed.table(self.studies, words),
            "terms": lambda words: crossed.terms(self.studies, words),
        }
        texts = {path.name: Text(path, self.number, blocks) for path in self.sources.texts}
        numbered = {name: text.numbered() for name, text in texts.items()}
        for text in texts.values():
            self.used |= text.used
        self._check_used()
        pages = {name: text.completed(numbered[name]) for name, text in texts.items()}
        self.files["published.csv"] = advantages(self.paper).round(2).to_csv(index=False, lineterminator="\n")
        return pages, self.files

    def _check_used(self) -> None:
        blocks = [f"figure {name}" for name in self.sources.figures]
        if unused := [name for name in (*self.sources.numbers.effects, *blocks) if name not in self.used]:
            raise HfpruneError(f"{self.sources.folder}: {unused[0]!r} is declared, and no text uses it")
        if unknown := self.sources.summary.keys() - OUTPUTS:
            name = min(unknown)
            raise HfpruneError(f"figures.yaml: summary: draws no {name!r}{nearest(name, [*OUTPUTS])}")

    def _named(self) -> dict[str, list[Cited]]:
        """The effects that have names in `numbers.yaml`."""
        return {name: [*self._named_effects(name)] for name in self.sources.numbers.effects}

    def _named_effects(self, name: str) -> Iterator[Cited]:
        for selection in self.sources.numbers.effects[name]:
            with explained(f"numbers.yaml: {name}: {REASON}", HfpruneError):
                yield from self.select(selection)

    def number(self, selection: str) -> list[Cited] | str:
        """Return the effects of a name or of a selection in words, or a number that is no effect as text.

        Raises:
            HfpruneError: there is no such name or source, or no row that the words describe.
        """
        if selection in self.named():
            return self.named()[selection]
        return self.studies.column(selection) if "/" in selection else self.select(selection)

    def select(self, selection: str) -> list[Cited]:
        """Return the effects that words select."""
        source, *words = selection.split()
        if source in self.decided.rows:
            rows = self.decided.rows[source]
            places = [(cited.row.model, cited.row.ratio) for cited in rows]
            part, _ = chosen(words, pd.DataFrame(places, columns=["model", "ratio"]), source)
            return [rows[place] for place in part.index]
        if source not in self.studies.names:
            sources = [*self.sources.numbers.effects, *self.decided.rows, *self.studies.names]
            raise HfpruneError(f"no number, study or claim {source!r}{nearest(source, sources, '')}")
        part, turned = chosen(words, self.studies.effects(source), source)
        return self.studies.cited(part, source, turned=turned)

    def _cited_studies(self) -> list[str]:
        """Return the studies whose numbers are in the texts, figures and tables."""
        effects = self.sources.numbers.effects
        words = [words for selection in self.used for words in effects.get(selection, [selection])]
        return sorted((set(map(source_of, words)) | self.sources.studies) & {*self.studies.names})

    def _figure(self, name: str) -> str:
        special = {"claims": self._claims, "published": self._published}
        if name in special:
            words, self.files[f"{name}.svg"] = special[name]()
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
        """Return the effects below those of a claim in the summary, by claim."""
        return {
            claim: [
                replace(cited, name=named(cited.row.model, cited.row.ratio))
                for cited in self.select(selection)
            ]
            for claim, selection in self.sources.summary.items()
        }

    def _panels(self, figure: FigureOf) -> Iterator[Panel]:
        for panel in figure.panels:
            yield Panel(panel.title, self._selected(panel))

    def _selected(self, panel: PanelOf) -> dict[str, Effect]:
        forms = panel.names or ["{}"] * len(panel.rows)
        effects: dict[str, Effect] = {}
        for form, selection in zip(forms, panel.rows, strict=True):
            for cited in self.select(selection):
                if (name := form.format(cited.name)) in effects:
                    raise HfpruneError(f"figures.yaml: {panel.title}: two rows are named {name!r}")
                effects[name] = cited.effect
        return effects

    def _claims(self) -> tuple[str, str]:
        """Return words and SVG of the deciding rows of all claims by the unit of their effects."""
        titles: dict[str, str] = {}
        effects: dict[str, dict[str, Effect]] = {}
        ranges: dict[str, dict[str, tuple[float, float]]] = {}
        for claim in self.decided.paper.claims:
            for cited in self.decided.rows[claim.id]:
                assert cited.claim is not None
                kind, unit = "ratio" if claim.effect == "ratio" else cited.claim.label, cited.claim.unit
                titles[kind] = ", ".join(filter(None, [kind, unit]))
                if kind == "ratio":
                    titles[kind] = "Quotient that the claim names"
                name = f"{claim.short}: {cited.name}{MARKS.get(cited.verdict, '')}"
                effects.setdefault(kind, {})[name] = replace(cited.effect, neutral=claim.neutral)
                if ends := self.decided.published(claim, cited.ratio):
                    ranges.setdefault(kind, {})[name] = (ends[0], ends[-1])
        panels = []
        for kind, title in titles.items():
            untestable = [*filter(_untestable, effects[kind])]
            exact = [name for name, effect in effects[kind].items() if effect.low == effect.high]
            shown = f"{title} (⊘ not testable)" if untestable else title
            panels.append(Panel(shown, effects[kind], ranges.get(kind, {}), [*untestable, *exact]))
        words = "Our effect on each claim, with its interval, and the range of published effects"
        return words, drawn(panels)

    def _published(self) -> tuple[str, str]:
        """Return words and SVG of the published advantages of entropy, and their range with one task left out."""
        titles = {"none": "Published advantage, points, without recovery", "lora": "The same after LoRA"}
        effects: dict[str, dict[str, Effect]] = {kind: {} for kind in titles}
        ranges: dict[str, dict[str, tuple[float, float]]] = {kind: {} for kind in titles}
        for row in advantages(self.paper).itertuples():
            doubt = " ?" if row.doubts else ""
            name = f"{row.model}, {percent(row.ratio)}: over {row.over}{doubt}"
            half, value = norm.ppf((1 + LEVEL) / 2) * row.stderr, row.advantage
            effects[row.recovery][name] = Effect(value, value - half, value + half, "{:+.1f}")
            ranges[row.recovery][name] = row.least, row.most
        panels = [Panel(titles[kind], effects[kind], ranges[kind]) for kind in titles]
        svg = drawn(
            panels,
            f"{BARS} over the questions. Filled: the interval excludes zero",
            ("Published", "Least and most with one task left out"),
        )
        return "Published advantages of entropy, and what leaving out one task makes of them", svg

    def _table(self, name: str) -> str:
        tables: dict[str, Callable[[], str]] = {
            "claims": lambda: claims.table(self.decided, tested=True),
            "others": lambda: claims.table(self.decided, tested=False),
            "significant": lambda: significant.table(
                self.studies, self._cited_studies(), crossed.shown(self.used)
            ),
            "studies": lambda: self.studies.described(self._cited_studies()),
        }
        if name not in tables:
            raise HfpruneError(f"no table {name!r}{nearest(name, [*tables])}")
        return tables[name]()


def _untestable(name: str) -> bool:
    return name.endswith(MARKS[NOT_TESTABLE])
