"""Effects in the tables of the studies in results/, each with its 95 % interval and the word for its side."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from hfprune.analysis.statistics import LEVEL
from hfprune.rounding import rounded_interval
from hfprune.settings import load
from hfprune.study.labels import labels
from hfprune.study.layout import study_file
from hfprune.study.study import Study

ROOT = Path(__file__).parents[1]
MODELS = {"smollm2-135m-instruct-q4": "SmolLM2", "qwen2.5-coder-0.5b-instruct-q4": "Qwen"}
RECOVERED = {"none": "as it is", "linear": "solved again", "lora": "after LoRA"}
# As the effects of factors are spelt: the difference between two levels, its change by another factor.
FACTORS = {"-": " − ", "@": " with ", "zscored": "z-scored ranking", "solved": "solved again"}
FACTORS |= {"none": "as it is", "global": "raw ranking", "uniform": "layer by layer"}
FACTORS |= {"cross_entropy": "cross-entropy", "flap": "FLAP's score", "wanda": "Wanda-sp"}
TINY = 0.1  # a ratio with more decimals
FIGURES = 3  # of a number without an interval


@dataclass(frozen=True)
class Outcome:
    """How an outcome is named, which value is no effect, how finely it is shown, and the words for either side."""

    name: str
    nothing: float
    form: str
    below: str
    above: str
    unshown: str = "no difference is shown"


OUTCOMES = {
    "points": Outcome("accuracy, points", 0, "{:+.1f}", "less accurate", "more accurate"),
    "bpb": Outcome("bits per byte of right answers", 0, "{:+.3f}", "fewer bits", "more bits"),
    "js_distance": Outcome("JS distance to the dense model", 0, "{:+.4f}", "nearer", "farther"),
    "top15_jaccard": Outcome("Jaccard index of the likeliest tokens", 0, "{:+.4f}", "lower", "higher"),
    "perplexity_ratio": Outcome("perplexity, ratio", 1, "{:,.2f}", "lower", "higher"),
    "perplexity_c4.perplexity_ratio": Outcome("perplexity on C4, ratio", 1, "{:.2f}", "lower", "higher"),
    "fidelity_code.js_distance": Outcome("JS distance on code", 0, "{:+.4f}", "nearer", "farther"),
    "perplexity_code.perplexity_ratio": Outcome("perplexity on code, ratio", 1, "{:,.2f}", "lower", "higher"),
    "loss_ratio": Outcome("loss, ratio", 1, "{:.2f}", "a lower loss", "a higher loss"),
    "difference": Outcome("log perplexity, difference", 0, "{:+.2f}", "lower", "higher"),
    "correlation": Outcome("correlation with accuracy", 0, "{:.2f}", "negative", "positive", "none is shown"),
}
# What a question of `headline.py` asks, and the words for its answer where those of the outcome would mislead.
QUESTIONS = {
    "against_entropy": "the method minus entropy, or over it in perplexity, with the same recovery",
    "against_dense": "the method minus the dense model, or over it in perplexity, with the same recovery",
    "against_paper": "the method minus entropy as it is, or over it in perplexity",
    "gain": "the method after recovery, minus as it is, or over it in perplexity",
    "change": "the difference from entropy after recovery, minus that without",
    "linear_per_lora": "what the solve brings, as a share of what LoRA brings",
}
CHANGES = {"below": "falls", "above": "rises", "unshown": "no change is shown"}
SHARES = {
    "nothing": 0,
    "form": "{:.2f}",
    "below": "below zero",
    "above": "above zero",
    "unshown": "zero is inside",
}


@dataclass(frozen=True)
class Effect:
    """One number of a study's file with its 95 % interval, and where it belongs."""

    file: str
    outcome: Outcome
    value: float
    low: float
    high: float
    holm: float
    about: dict[str, str]  # method, model, ratio, recovery and so on, as shown
    asks: str = ""  # of which two the number is the difference or the ratio

    @property
    def verdict(self) -> str:
        """The outcome's word for the side that its interval is on, or that none is shown."""
        if math.isnan(self.low):
            return "no interval"
        if self.low > self.outcome.nothing:
            return self.outcome.above
        return self.outcome.below if self.high < self.outcome.nothing else self.outcome.unshown

    @property
    def star(self) -> str:
        """A star where the effect holds by Holm's method."""
        return "*" if self.holm < 1 - LEVEL else ""

    @property
    def number(self) -> str:
        """The value, its interval and its star."""
        form, nothing = self.outcome.form, self.outcome.nothing
        if nothing == 1 and self.value < TINY:
            form = "{:.4f}"
        if math.isnan(self.low):
            digits = max(0, FIGURES - 1 - math.floor(math.log10(abs(self.value) or 1)))
            form = re.sub(r"\.(\d)f", lambda most: f".{min(int(most[1]), digits)}f", form)
            shown = form.format(float(f"{self.value:.{FIGURES}g}"))
            return (shown if float(shown.replace(",", "")) else form.format(0.0)).replace("-", "−")
        value, *ends = rounded_interval(
            form, self.value, self.low, self.high, neutral=nothing, ratio=nothing == 1
        )
        return f"{value} ({' to '.join(ends)}){self.star}".replace("-", "−")


def read(study: str, file: str) -> pd.DataFrame:
    """Return a table of a study, with models, ratios, methods and recoveries as they are shown."""
    table = pd.read_csv(ROOT / "results" / study / file, keep_default_na=False, na_values=[""])
    labels = read_labels(study)
    shown: dict[str, Callable[[object], str]] = {
        "model": lambda name: MODELS.get(str(name), str(name)),
        "method": lambda name: labels.get(str(name), str(name)),
        "reference": lambda name: labels.get(str(name), str(name)),
        "against": lambda name: labels.get(str(name), name),
        "effect": lambda name: OUTCOMES[name].name.partition(",")[0] if name in OUTCOMES else name,
        "ratio": lambda ratio: f"{ratio:.0%}".replace("%", " %"),
        "recovery": lambda kind: RECOVERED[str(kind)],
    }
    orders = {"method": [*labels], "recovery": [*RECOVERED], "model": [*MODELS]}
    for name in (name for name in ("ratio", "model", "recovery", "method") if name in table):
        order = {value: place for place, value in enumerate(orders.get(name, sorted(table[name].unique())))}
        table = table.sort_values(name, key=lambda column: column.map(order), kind="stable")
    return table.assign(**{name: table[name].map(form) for name, form in shown.items() if name in table})


def read_labels(study: str) -> dict[str, str]:
    """Return the names of a study's methods in a sentence."""
    of_study = labels(load(Study, ROOT / "results" / study / "study.yaml"))
    criteria = {name.lower() for name in ("Entropy", "Cross-entropy", "Distillation", "Magnitude", "Random")}
    return {
        method: label[0].lower() + label[1:] if label.split(",")[0].lower() in criteria else label
        for method, (label, _) in of_study.items()
    }


def effects(
    study: str,
    question: str = "against_entropy",
    *,
    file: str = "effects.csv",
    outcomes: Sequence[str] = (),
    **only: Sequence[str],
) -> list[Effect]:
    """Return what `headline.py effects` found, of all models and ratios.

    Args:
        study: its name.
        question: as `headline.questions` has them.
        file: of the study.
        outcomes: keys of `OUTCOMES`; by default all.
        **only: by `method` or `recovery`, the names to keep, as shown.
    """
    table = read(study, file)
    table = table[(table["question"] == question) & table["outcome"].isin([*(outcomes or OUTCOMES)])]
    keys = ("method", "model", "ratio", "recovery")
    found = [effect_of(f"{study}/{file}", row["outcome"], row, "value", keys) for row in kept(table, only)]
    words = {"change": CHANGES, "linear_per_lora": SHARES}.get(question, {})
    found = [effect for effect in found if question != "linear_per_lora" or not math.isnan(effect.low)]
    return [
        replace(effect, outcome=replace(effect.outcome, **words), asks=QUESTIONS[question])
        for effect in found
    ]


def compared(study: str, *, outcomes: Sequence[str] = (), **only: Sequence[str]) -> list[Effect]:
    """Return a study's comparisons of all draws, of all models and ratios; arguments as for `effects`."""
    table = read(study, "comparison.csv")
    table["against"] = table["reference"]
    rows = kept(table[table["seed"].isna()], only)
    about = ("method", "against", "model", "ratio")
    asks = QUESTIONS["against_entropy"]
    if table["against"].nunique() > 1:
        asks = asks.replace("entropy", "what it is against")
    return [
        replace(effect_of(f"{study}/comparison.csv", outcome, row, outcome, about), asks=asks)
        for row in rows
        for outcome in outcomes or OUTCOMES
        if outcome in table and pd.notna(row[outcome])
    ]


def across(*found: Sequence[Effect]) -> list[Effect]:
    """Return effects of several studies, each with the name of its study, or of those whose draws were joined."""

    def name(file: str) -> str:
        study, _, rest = file.partition("/")
        joined = rest.removesuffix(".csv").partition("_")[2]
        return f"{study}, {joined}" if joined else study

    keys = "method", "model", "ratio"
    return [
        replace(effect, about={"study": name(effect.file)} | {key: effect.about[key] for key in keys})
        for one in found
        for effect in one
    ]


def lost(study: str, measure: str, **only: Sequence[str]) -> list[Effect]:
    """Return what pruning changes in each task or capability of a measure, from the dense model."""
    table = read(study, "lost.csv")
    table = table[table["measure"] == measure].rename(columns={"low": "change_low", "high": "change_high"})
    table["task"] = table["task"].str.replace("_", " ")
    outcome = "bpb" if measure == "gold_bpb" else "points"
    about = ("task", "method", "model", "ratio")
    asks = "the pruned model minus the dense one, over documents of one plan"
    return [
        replace(effect_of(f"{study}/lost.csv", outcome, row, "change", about), asks=asks)
        for row in kept(table, only)
    ]


def losses(study: str, **only: Sequence[str]) -> list[Effect]:
    """Return losses as ratios to that of the paper's plan, which `recipe.py losses` found."""
    table = read(study, "losses.csv")
    measures = load(Study, study_file(study)).measures
    corpora = {name: measures[name].settings["corpus"] for name in table["measure"].unique()}
    table["text"] = [corpora[name].partition("-")[0].capitalize() for name in table["measure"]]
    table = table[(table["method"] != "entropy") | (table["recovery"] != RECOVERED["none"])]
    about = ("method", "recovery", "model", "text", "ratio")
    asks = "the plan's loss over that of entropy's as it is"
    return [
        replace(effect_of(f"{study}/losses.csv", "loss_ratio", row, "loss_ratio", about), asks=asks)
        for row in kept(table, only)
    ]


def factors(study: str, *only: str) -> list[Effect]:
    """Return the effects of a study's factors, as its file names them, which `recipe.py factors` found."""
    found = []
    for row in kept(read(study, "factors.csv"), {"effect": only} if only else {}):
        parts = row["effect"].split("*")
        spelt = " × ".join(f"({part})" if len(parts) > 1 else part for part in parts)
        for sign, words in FACTORS.items():
            spelt = spelt.replace(sign, words)
        effect = effect_of(f"{study}/factors.csv", "difference", row, "difference", ())
        words = CHANGES if len(parts) > 1 else {}
        found.append(replace(effect, outcome=replace(effect.outcome, **words), about={"effect": spelt}))
    return found


def ranks(study: str) -> list[Effect]:
    """Return the correlations of outcomes with accuracy, which `headline.py ranks` found."""
    table = read(study, "ranks.csv")
    itself = "accuracy itself, on other questions"
    names = {name: outcome.name.partition(",")[0] for name, outcome in OUTCOMES.items()} | {"points": itself}
    choices = table["plans"].str.replace("%", " %").replace("all", "")
    table["plans"] = [
        f"{cells} models{f', {choice}' if choice else ''}"
        for cells, choice in zip(table["cells"], choices, strict=True)
    ]
    table["outcome"] = table["outcome"].map(names)
    found = [
        effect_of(f"{study}/ranks.csv", "correlation", row, "correlation", ("outcome", "model", "plans"))
        for _, row in table.iterrows()
    ]
    if table["plans"].nunique() > 1:
        return found
    name = f"{OUTCOMES['correlation'].name}, {table['plans'][0]}"
    return [replace(effect, outcome=replace(effect.outcome, name=name)) for effect in found]


def kept(table: pd.DataFrame, only: dict[str, Sequence[str]]) -> list[pd.Series]:
    """Return the rows whose columns have one of the names given for them, each of which is there."""
    for column, names in only.items():
        if lacking := {*names} - {*table[column]}:
            raise ValueError(f"no {column} {sorted(lacking)} among {sorted({*table[column]})}")
        table = table[table[column].isin([*names])]
    return [row for _, row in table.iterrows()]


def effect_of(file: str, outcome: str, row: pd.Series, column: str, about: Sequence[str]) -> Effect:
    """Return the effect in a column of a row, with its ends in `…_low` and `…_high`, and what `about` names."""
    ends = (float(row[f"{column}_{end}"]) for end in ("low", "high"))
    holm = float(row.get(f"{column}_holm", row.get("holm", math.nan)))
    named = {name: str(row[name]) for name in about if name in row}
    return Effect(file, OUTCOMES[outcome], float(row[column]), *ends, holm, named)
