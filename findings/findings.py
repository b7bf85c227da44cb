"""Make docs/findings.md and its figures from findings.md.jinja and the tables of the studies in results/.

Numbers, and the words about significance, come from the functions below; the template has the rest.

    python findings/findings.py
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from advantages import advantages
from forest import Panel, drawn
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfprune.analysis.rounding import rounded_interval
from hfprune.analysis.statistics import LEVEL, holm
from hfprune.paper.relations import Claims
from hfprune.settings import load
from hfprune.study.labels import labels
from hfprune.study.study import Study

ROOT = Path(__file__).parents[1]
RESULTS, PAGE, FILES = ROOT / "results", ROOT / "docs/findings.md", ROOT / "docs/findings"
NAMES = {"smollm2-135m-instruct-q4": "SmolLM2", "qwen2.5-coder-0.5b-instruct-q4": "Qwen"}
NAMES |= {"qwen2.5-coder-1.5b-instruct-q4": "Qwen 1.5B"}
WORDS = {"Entropy", "Cross-entropy", "Distillation", "Magnitude", "Random"}  # labels that are no names
# How outcomes are shown; those that are ratios have 1 for no effect.
FORMS = dict.fromkeys(("points", "points_without_boolq"), "{:+.1f}") | {"bpb": "{:+.3f}"}
DISTANCES = "js_distance", "fidelity_code.js_distance", "fidelity_c4.js_distance", "top15_jaccard"
FORMS |= dict.fromkeys(DISTANCES, "{:+.4f}")
RATIOS = ("perplexity_ratio", "loss_ratio", "quotient")
FORMS |= dict.fromkeys((*RATIOS, "correlation"), "{:.2f}")
# The outcomes of claims, by their units.
UNITS = {"points": "points", "JS distance": "js_distance", "Top-15 Jaccard": "top15_jaccard"}
UNITS |= {"ratio": "quotient"}
TEXTS = {"perplexity": "Wikipedia", "perplexity_c4": "C4"}  # of the study `recipe-confirm`


@dataclass(frozen=True)
class Effect:
    """A number of a study's table with its 95 % interval, and p by Holm's method where the table has it."""

    outcome: str
    value: float
    low: float
    high: float
    holm: float = math.nan
    testable: bool = True

    nothing = property(lambda self: int(self.outcome in RATIOS))
    starred = property(lambda self: self.holm < 1 - LEVEL)

    @property
    def side(self) -> int | None:
        """-1 or 1 where the interval lies below or above no effect, else 0; None without an interval."""
        if not self.testable:
            return 0
        return None if math.isnan(self.low) else int(self.low > self.nothing) - int(self.high < self.nothing)

    def __str__(self) -> str:
        """Return the number with its interval, and a star where it holds by Holm's method."""
        if self.side is None or self.low == self.high:
            return FORMS[self.outcome].format(self.value).replace("-", "−")
        numbers = self.value, self.low, self.high
        value, *ends = rounded_interval(
            FORMS[self.outcome], *numbers, neutral=self.nothing, ratio=self.nothing == 1
        )
        return f"{value} ({' to '.join(ends)}){'*' * self.starred}".replace("-", "−")

    def turned(self) -> "Effect":
        """Return the difference of the two sides in the other order."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)


Named = Mapping[str, Effect]


@cache
def read(study: str, file: str) -> pd.DataFrame:
    """Return a table of a study, with short names of models."""
    table = pd.read_csv(RESULTS / study / file, keep_default_na=False, na_values=[""])
    return table.assign(model=table["model"].replace(NAMES)) if "model" in table else table


@cache
def label(study: str, method: str) -> str:
    """Return the name of a method of a study in a sentence."""
    name = labels(load(Study, RESULTS / study / "study.yaml"))[method].label
    return name[0].lower() + name[1:] if name.partition(",")[0] in WORDS else name


def percent(ratio: float) -> str:
    """Return a share as the page writes it."""
    return f"{ratio:.0%}".replace("%", " %")


def rows(study: str, file: str, outcome: str, **only: object) -> dict[str, Effect]:
    """Return the effects of an outcome in a study's table, by method and whatever else differs among them.

    Raises:
        ValueError: there is none, or a name has two.
    """
    table = read(study, file)
    only |= {"outcome": outcome} if "outcome" in table else {}
    column = next((name for name in ("value", "correlation") if name in table), outcome)
    table = table[table[column].notna()]
    for name, wanted in only.items():
        wanted = wanted if isinstance(wanted, list) else [wanted]
        table = table[table[name].isna() if wanted == [None] else table[name].isin(wanted)]
    low, high = ("low", "high") if "low" in table else (f"{column}_low", f"{column}_high")
    corrected = next((name for name in (f"{column}_holm", "holm") if name in table), None)
    shown = {"ratio": percent, "method": lambda name: label(study, name), "measure": TEXTS.get}
    keys = [name for name in ("method", "effect", "plans", "model", "measure", "ratio") if name in table]
    differ = [name for name in keys if table[name].nunique() > 1] or keys[:1]
    found: dict[str, Effect] = {}
    for row in table.to_dict("records"):
        name = ", ".join(str(shown.get(key, str)(row[key])) for key in differ)
        numbers = (float(row[each]) for each in (column, low, high))
        effect = Effect(
            column if column in FORMS else outcome, *numbers, row[corrected] if corrected else math.nan
        )
        if found.setdefault(name, effect) != effect:
            raise ValueError(f"{study}/{file}: two numbers of {name}")
    if not found:
        raise ValueError(f"{study}/{file}: no {outcome} of {only}")
    return found


def one(study: str, file: str, outcome: str, **only: object) -> Effect:
    """Return the only effect that `rows` finds."""
    (effect,) = rows(study, file, outcome, **only).values()
    return effect


def word(effect: Effect, below: str, above: str, none: str = "no significant difference") -> str:
    """Return the word for the side of an effect."""
    return {-1: f"significantly {below}", 1: f"significantly {above}", 0: none, None: "no interval"}[
        effect.side
    ]


def count(named: Named, side: int) -> str:
    """Say how many effects are on a side of no effect."""
    return f"{sum(effect.side == side for effect in named.values())} of {len(named)}"


def sides(named: Named, below: str, above: str) -> str:
    """Say which effects, named by model and cell, are on which side of no effect, and which have a star."""
    said: dict[str, dict[str, list[str]]] = {}
    for name, effect in sorted(named.items(), key=lambda item: not item[1].side):
        model, _, cell = name.partition(", ")
        cells = said.setdefault(word(effect, below, above), {}).setdefault(model, [])
        cells.append(cell + "*" * effect.starred)
    models = {side: [f"{model} ({', '.join(at)})" for model, at in by.items()] for side, by in said.items()}
    return "; ".join(f"{side} on {' and '.join(each)}" for side, each in models.items())


def turned(named: Named) -> dict[str, Effect]:
    """Return differences in the other order."""
    return {name: effect.turned() for name, effect in named.items()}


def joined(several: Mapping[str, Named]) -> dict[str, Effect]:
    """Return groups of effects as one, with the names that their keys make of each, such as `{} on code`."""
    return {form.format(name): effect for form, named in several.items() for name, effect in named.items()}


def ranked(study: str) -> dict[str, Effect]:
    """Return the correlations of a study's cheap outcomes with accuracy."""
    names = {"bits per byte": "bpb", "perplexity": "perplexity_ratio", "JS distance": "js_distance"}
    return joined({f"{name}, {{}}": rows(study, "ranks.csv", outcome) for name, outcome in names.items()})


def spreads(outcome: str) -> dict[str, Effect]:
    """Return spreads over calibration samples per those over resamples: of criteria, and of their difference."""
    of, less = (
        rows("draws", "draws.csv", "quotient", effect=outcome, against=at) for at in (None, "entropy")
    )
    return joined({"{}": of, "{} − entropy": less})


def share(study: str, method: str, ratio: float, recovery: str = "none", column: str = "yes") -> str:
    """Return the share of BoolQ that a cell of SmolLM2 answers with yes, or another column of answers.csv."""
    table = read(study, "answers.csv").set_index(["model", "ratio", "method", "recovery"])
    return percent(table.loc[("SmolLM2", ratio, method, recovery), column])


def lines(claim: str, model: str, study: str) -> Iterable[dict[str, Any]]:
    """Yield the rows of a claim that a study measured on a model, as the page shows them.

    `unseen`: of an inconclusive one, whether the detectable effect is larger than the smallest published one.
    `p`: that of no effect, of what is measured.
    """
    table = read(study, "claims.csv").query("claim == @claim and model == @model and verdict != 'not run'")
    for row in table.to_dict("records"):
        numbers, untestable = (row["effect"], row["low"], row["high"]), row["verdict"] == "not testable"
        effect = Effect(UNITS[row["unit"]], *numbers, testable=not untestable)
        counted, least = row["basis"] == "arithmetic", row["minimum_detectable_effect"]
        sample = f"{row['draws']}" + f" + {row['resamples']} resamples" * (
            row["draws"] == 1 < row["resamples"]
        )
        table = read("recovery", "claims.csv").query("claim == @claim and ratio == @row['ratio']")
        known = table["published"].dropna().abs() if row["verdict"] == "inconclusive" else pd.Series()
        yield {
            "name": f"{model}, {percent(row['ratio'])}",
            "study": study,
            "effect": effect,
            "size": "by arithmetic" if counted else f"{sample} × {row['n']}",
            "detectable": "–" if counted or math.isnan(least) else f"{least:.2g}",
            "unseen": least > known.min() if len(known) else None,
            "judged": row["verdict"],
            "mark": " ⊘" * untestable,
            "link": f"[{study}](../results/{study}/claims.csv)",
            "p": math.nan if counted else row["p"],
        }


@cache
def declared() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each claim of the paper in the studies that decide it, with Holm's p over all of them."""
    studies = yaml.safe_load((Path(__file__).parent / "declared.yaml").read_text(encoding="utf-8"))
    every = read("recovery", "claims.csv")["claim"].unique()
    found = {
        name: [row for at in studies.get(name, {}).items() for row in lines(name, *at)] for name in every
    }
    decided = [row for some in found.values() for row in some]
    for row, adjusted in zip(decided, holm([row["p"] for row in decided]), strict=True):
        row["effect"] = replace(row["effect"], holm=adjusted)
    return found


def testable(claim: str) -> dict[str, Effect]:
    """Return the effects of a claim in the studies that decide it, but for those that are not testable."""
    return {row["name"]: row["effect"] for row in declared()[claim] if row["effect"].testable}


def printed(claim: str) -> str:
    """Return a claim, where the paper says it, and its smallest and its largest published effect."""
    table = read("recovery", "claims.csv").query("claim == @claim")
    sentence, where = table[["sentence", "where"]].iloc[0]
    ends = dict.fromkeys(f"{end:.3g}" for end in (table["published"].min(), table["published"].max()))
    return f"{sentence.rstrip('.')} ({where}) | {' to '.join(ends).replace('-', '−').replace('nan', '–')}"


def of_claim(claim: str, *studies: str) -> dict[str, Effect]:
    """Return the effects of a claim in several studies; ▸ marks those that decide, ⊘ what is not testable."""
    found = [row for study in studies for model in NAMES.values() for row in lines(claim, model, study)]
    decide = [(row["name"], row["study"]) for row in declared()[claim]]
    return {
        "▸ " * ((row["name"], row["study"]) in decide) + f"{row['name']}, {row['study']}{row['mark']}": row[
            "effect"
        ]
        for row in found
    }


def only(named: Named, part: str) -> dict[str, Effect]:
    """Return the effects whose names have a part, such as that of a model."""
    return {name: effect for name, effect in named.items() if part in name}


def overview() -> list[Panel]:
    """Return the deciding rows of all claims by what their effects are in, with the range of published ones."""
    titles = {"points": "Accuracy, points (⊘ not testable)", "js_distance": "JS distance to the dense model"}
    titles |= {
        "top15_jaccard": "Jaccard index of the 15 likeliest tokens",
        "quotient": "Pruned over dense model",
    }
    short = {claim.id: claim.short for claim in load(Claims, ROOT / "paper/claims.yaml").claims}
    found: dict[str, tuple[dict[str, Effect], dict[str, tuple[float, float]]]] = {}
    for claim, decided in declared().items():
        table = read("recovery", "claims.csv").query("claim == @claim")["published"]
        for row in decided:
            effects, published = found.setdefault(row["effect"].outcome, ({}, {}))
            name = f"{short[claim]}: {row['name']}{row['mark']}"
            effects[name] = row["effect"]
            published[name] = table.min(), table.max()
    return [(title, found[unit][0], int(unit in RATIOS), found[unit][1]) for unit, title in titles.items()]


def reread() -> list[Panel]:
    """Return the published advantages of entropy with 95 % intervals, and their range with one task left out."""
    found: dict[str, tuple[dict[str, Effect], dict[str, tuple[float, float]]]] = {}
    for row in advantages(ROOT / "paper").to_dict("records"):
        effects, ranges = found.setdefault(row["recovery"], ({}, {}))
        name = f"{row['model']}, {percent(row['ratio'])}: over {row['over']}" + " ?" * bool(row["doubts"])
        half = 1.96 * row["stderr"]
        effects[name] = Effect("points", row["advantage"], row["advantage"] - half, row["advantage"] + half)
        ranges[name] = row["least"], row["most"]
    titles = {"none": "Published advantage, points, without recovery", "lora": "The same after LoRA"}
    return [(title, found[recovery][0], 0, found[recovery][1]) for recovery, title in titles.items()]


def advantage(ratio: float, over: str, column: str = "advantage") -> float:
    """Return a published advantage of entropy without recovery (Table 6), or another column of its row."""
    rows = advantages(ROOT / "paper").query("table == 6 and ratio == @ratio and over == @over")
    return rows[column].item()


def page() -> tuple[str, dict[str, str]]:
    """Return the page that the template makes of the results, and the files beside it by name."""
    files = {"published.csv": advantages(ROOT / "paper").round(2).to_csv(index=False, lineterminator="\n")}

    def figure(name: str, words: str, panels: Sequence[Panel]) -> str:
        files[f"{name}.svg"] = drawn(panels)
        return f"![{words}](findings/{name}.svg)"

    said = [read, rows, one, only, word, count, sides, turned, joined, ranked, spreads, share, label]
    said += [of_claim, declared, testable, printed, overview, reread, advantage, figure]
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    jinja.globals |= {function.__name__: function for function in said}
    return jinja.get_template("findings.md.jinja").render(), files


if __name__ == "__main__":
    text, files = page()
    PAGE.write_text(text, encoding="utf-8")
    FILES.mkdir(exist_ok=True)
    for name, kept in files.items():
        (FILES / name).write_text(kept, encoding="utf-8")
