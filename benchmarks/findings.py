"""Make docs/findings.md from findings.md.jinja and the tables of the studies in results/.

The template says in words what was asked and done, and which numbers to show. It has no number of its own and no
word that compares: those come from the functions below, which speak of every model and ratio of a study, so that
what is contrary stands beside what is not. `tests/test_findings.py` holds both to it.

    python benchmarks/findings.py
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import fill, indent

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from statements import (
    MODELS,
    OUTCOMES,
    ROOT,
    Effect,
    Outcome,
    compared,
    effect_of,
    effects,
    factors,
    kept,
    losses,
    ranks,
    read,
)

from hfprune.analysis.statistics import LEVEL
from hfprune.settings import load
from hfprune.study.layout import study_file
from hfprune.study.study import Study

PAGE = ROOT / "docs/findings.md"
TEMPLATE = ROOT / "benchmarks/findings.md.jinja"
UNITS = {"points": "points", "JS distance": "js_distance", "Top-15 Jaccard": "js_distance"}  # of claims
BEFORE = {"model": "on ", "text": "on ", "ratio": "at "}  # the words before them in a sentence
HEADS = {"ratio": "removed"}
WIDTH = 127
GLUE = "\N{NO-BREAK SPACE}"


def say(found: Sequence[Effect], *, numbers: bool = True) -> str:
    """Return a bullet an outcome: which effects are on which side, or on none, with their numbers."""
    lines = []
    for outcome in _outcomes(found):
        here = [effect for effect in found if effect.outcome == outcome]
        verdicts = (outcome.below, outcome.above, outcome.unshown, "no interval")
        said = [
            f"{verdict[0].upper()}{verdict[1:]}: {listed}."
            for verdict in dict.fromkeys(verdicts)
            if (listed := _listed([effect for effect in here if effect.verdict == verdict], found, numbers))
        ]
        name = f"{outcome.name[0].upper()}{outcome.name[1:]}"
        lines.append(f"- **{name}.** {' '.join(said)}")
    wrapped = (
        fill(
            line.replace(" %", f"{GLUE}%"),
            WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )
    return "\n".join(wrapped).replace(GLUE, " ") + (_source(found[0].file) if numbers else "")


def _listed(side: Sequence[Effect], found: Sequence[Effect], numbers: bool) -> str:
    """Return the names of effects, with what else differs among all that are spoken of, and their numbers."""
    lead, *rest = found[0].about
    differ = [key for key in rest if len({effect.about[key] for effect in found}) > 1]
    names: dict[str, list[str]] = {}
    for effect in side:
        which = " ".join(f"{BEFORE.get(key, '')}{effect.about[key]}" for key in differ)
        parts = [which, effect.number] if numbers else [f"{which}{effect.star}"]
        names.setdefault(effect.about[lead], []).append(" ".join(filter(None, parts)))
    if numbers:
        return "; ".join(f"{name} {', '.join(each)}" for name, each in names.items())
    return "; ".join(
        f"{name} ({', '.join(each)})" if differ else name + each[0] for name, each in names.items()
    )


def _outcomes(found: Sequence[Effect]) -> list[Outcome]:
    """Return the outcomes of effects, in the order of `OUTCOMES`."""
    names = [outcome.name for outcome in OUTCOMES.values()]
    return sorted({effect.outcome for effect in found}, key=lambda outcome: names.index(outcome.name))


def table(found: Sequence[Effect], *columns: str) -> str:
    """Return effects as a table: a column an outcome and each of these keys, a row what else differs."""
    keys = [key for key in found[0].about if len({effect.about[key] for effect in found}) > 1]
    left = [key for key in keys if key not in columns]
    outcomes = _outcomes(found)
    rows: dict[tuple, dict[str, str]] = {}

    def head_of(effect: Effect) -> str:
        parts = [effect.about[key] for key in columns] + [effect.outcome.name] * (len(outcomes) > 1)
        return ", ".join(parts) or effect.outcome.name

    for effect in found:
        row = rows.setdefault(tuple(effect.about[key] for key in left), {})
        head = head_of(effect)
        if head in row:
            raise ValueError(f"two numbers for {head} of {effect.about}")
        row[head] = effect.number
    by_outcome = sorted(found, key=lambda effect: outcomes.index(effect.outcome))
    heads = dict.fromkeys(head_of(effect) for effect in by_outcome)
    body = [[*row, *(cells.get(head, "–") for head in heads)] for row, cells in rows.items()]
    return _markdown([HEADS.get(key, key) for key in left] + [*heads], body) + _source(found[0].file)


def numbers(study: str, file: str, columns: dict[str, tuple[str, str]], **only: Sequence[str]) -> str:
    """Return columns of a study's file as they are: each with its heading and its format."""
    rows = kept(read(study, file), only)
    lines = dict.fromkeys(
        tuple(_plain(row[name], form) for name, (_, form) in columns.items()) for row in rows
    )
    return _markdown([head for head, _ in columns.values()], lines) + _source(f"{study}/{file}")


def _plain(value: object, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value).replace("-", "−" if form != "{}" else "-")


def capabilities(study: str, method: str) -> str:
    """Return the bits per byte of the dense model by capability, and what pruning by a method adds."""
    rows = read(study, "lost.csv")
    rows = rows[(rows["measure"] == "gold_bpb") & (rows["method"] == method)]
    body: dict[str, list[str]] = {}
    for _, row in rows.iterrows():
        ends = {"change_low": row["low"], "change_high": row["high"]}
        change = effect_of("", "bpb", pd.Series({**row, **ends}), "change", ()).number
        body.setdefault(row["task"].replace("_", " "), []).extend([f"{row['dense']:.2f}", change])
    models = dict.fromkeys(rows["model"])
    heads = ["capability", *(head for model in models for head in (f"{model}: dense", "change"))]
    return _markdown(heads, [[task, *cells] for task, cells in body.items()]) + _source(f"{study}/lost.csv")


def covered(study: str, file: str, value: float) -> str:
    """Say in how many rows of a table the interval covers a value."""
    rows = read(study, file)
    inside = ((rows["low"] <= value) & (value <= rows["high"])).sum()
    return f"The interval covers {value:g} in {inside} of {len(rows)} rows."


def level() -> str:
    """Return the level of all intervals."""
    return f"{LEVEL:.0%}".replace("%", " %")


def claims(*studies: str) -> str:
    """Return the verdicts on the paper's claims that studies measured, claim by claim, with their effects."""
    found: dict[str, list[list[str]]] = {}
    for study in studies:
        table = read(study, "claims.csv").rename(columns={"low": "effect_low", "high": "effect_high"})
        measured = (table["verdict"] != "not run") & table["unit"].isin(UNITS)
        for _, row in table[measured].iterrows():
            outcome = UNITS[row["unit"]]
            effect = effect_of("", outcome, row, "effect", ()).number
            least = _plain(row["minimum_detectable_effect"], OUTCOMES[outcome].form.replace("+", ""))
            claim = f"{row['sentence'].rstrip('.')} ({row['where']})"
            about = [f"[{study}](../results/{study}/claims.csv)", row["model"], row["ratio"]]
            unit = "points" if outcome == "points" else row["unit"]
            found.setdefault(claim, []).append([*about, f"{effect} {unit}", least, row["verdict"]])
    heads = ["claim", "study", "model", "removed", "effect", "minimum detectable effect", "verdict"]
    return _markdown(
        heads, [[claim * (not i), *line] for claim in found for i, line in enumerate(found[claim])]
    )


def _markdown(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _source(file: str) -> str:
    return f"\n\n*From [{file}](../results/{file}).*"


def about(name: str) -> str:
    """Return what a study's file says: models, ratios, draws, calibration and measures."""
    study = load(Study, study_file(name))
    each = [
        f"{MODELS[model]} at {_series([f'{r:.0%}'[:-1] for r in study.ratios_of(model)])} %"
        for model in study.models
    ]
    calibration = study.calibration
    corpora = Counter(study.corpus_of(method) for method in study.methods)
    draws = f"{len(study.seeds)} draw{'s' * (len(study.seeds) > 1)}"
    if calibration.resamples:
        draws += f" and {calibration.resamples} resamples"
    part = {method.sequences for method in study.methods.values()} - {None}
    read_by = f", of which criteria read {part.pop()}" if len(part) == 1 else ""
    texts = _series([f"`{corpus}`" for corpus in corpora])
    measures = _series(
        [f"`{kind}` {_size(measure.settings)}".strip() for kind, measure in study.measures.items()]
    )
    return (
        f"*[`{name}`](../config/studies/{name}.yaml): {_series(each)}; {len(study.methods)} methods; {draws} of "
        f"{calibration.sequences} sequences of {calibration.length} tokens of {texts}{read_by}; {measures}.*"
    )


def _size(options: dict) -> str:
    """Return how much a measure reads."""
    tasks = options.get("tasks") or [task for group in options.get("groups", {}).values() for task in group]
    if tasks:
        each = options.get("documents")
        return f"({len(tasks)} tasks, {f'up to {each} documents each' if each else 'all documents'})"
    if "corpus" in options:
        return f"({options['sequences']} crops of {options['length']} tokens of `{options['corpus']}`)"
    return ""


def _series(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


SPEAKERS = (effects, compared, losses, factors, ranks, say, table)
SPEAKERS += (numbers, capabilities, covered, level, claims, about)


def page() -> str:
    """Return the page that the template makes of the results."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    jinja.filters["indented"] = lambda text: indent(text, "  ")
    jinja.globals |= {function.__name__: function for function in SPEAKERS}
    return jinja.get_template(TEMPLATE.name).render()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
