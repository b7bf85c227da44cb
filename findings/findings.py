"""Make docs/findings.md from findings.md.jinja and the tables of the studies in results/.

The template says in words what was asked and done, and which numbers to show. Numbers in digits, and words that
compare outcomes, come from the functions below, which speak of every model and ratio of a study, so that what is
contrary stands beside what is not.

    python findings/findings.py
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import indent

import pandas as pd
from described import about, accuracy, series, wrapped
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from statements import (
    OUTCOMES,
    RECOVERED,
    ROOT,
    Effect,
    Outcome,
    across,
    compared,
    effect_of,
    effects,
    factors,
    kept,
    losses,
    lost,
    ranks,
    read,
)

from hfprune.analysis.statistics import LEVEL

PAGE = ROOT / "docs/findings.md"
TEMPLATE = ROOT / "findings/findings.md.jinja"
# Those with claims of the paper, without `methods`, whose only such run is that of `sensitivity`, and without
# `demo`, which each machine runs anew.
STUDIES = ["recovery", "headline", "recovery-short", "recovery-30", "recovery-attention", "recovery-qwen"]
STUDIES += ["recovery-others", "untuned", "outcomes", "outcomes-qwen", "families", "draws", "sensitivity"]
STUDIES += ["domains"]
UNITS = {"points": "points", "JS distance": "js_distance", "Top-15 Jaccard": "top15_jaccard"}  # of claims
KINDS = ("reproduced", "contradicted", "equivalent", "inconclusive", "one draw")  # of verdicts
# The words before them in a sentence.
BEFORE = {"model": "on ", "text": "on ", "ratio": "at ", "plans": "over "}
HEADS = {"ratio": "removed"}


def say(found: Sequence[Effect]) -> str:
    """Return a bullet an outcome: which effects are on which side, or on none, with their numbers."""
    lines = []
    for outcome in _outcomes(found):
        here = [effect for effect in found if effect.outcome == outcome]
        verdicts = (outcome.below, outcome.above, outcome.unshown, "no interval")
        said = [
            f"{verdict[0].upper()}{verdict[1:]}: {_listed(side, found)}."
            for verdict in verdicts
            if (side := [effect for effect in here if effect.verdict == verdict])
        ]
        name = f"{outcome.name[0].upper()}{outcome.name[1:]}"
        lines.append(wrapped(f"- **{name}.** {' '.join(said)}"))
    return "\n".join(lines) + _source(found)


def _listed(side: Sequence[Effect], found: Sequence[Effect]) -> str:
    """Return the names of effects, with what else differs among all that are spoken of, and their numbers."""
    lead, *differ = _keys(found)
    names: dict[str, list[str]] = {}
    for effect in side:
        which = " ".join(f"{BEFORE.get(key, '')}{effect.about[key]}" for key in differ)
        names.setdefault(effect.about[lead], []).append(f"{which} {effect.number}".strip())
    return "; ".join(f"{name} {', '.join(each)}" for name, each in names.items())


def _keys(found: Sequence[Effect]) -> list[str]:
    """Return what names an effect, and what else differs among effects."""
    lead, *rest = found[0].about
    return [lead, *(key for key in rest if len({effect.about[key] for effect in found}) > 1)]


def _outcomes(found: Sequence[Effect]) -> list[Outcome]:
    """Return the outcomes of effects, in the order of `OUTCOMES`."""
    names = [outcome.name for outcome in OUTCOMES.values()]
    return sorted(
        {effect.outcome for effect in found},
        key=lambda outcome: next(i for i, name in enumerate(names) if outcome.name.startswith(name)),
    )


def table(found: Sequence[Effect], *columns: str) -> str:
    """Return effects as a table: a column an outcome and each of these keys, a row what else differs.

    A number is bold where its interval leaves out no effect.
    """
    left = [key for key in _keys(found) if key not in columns]
    outcomes = _outcomes(found)
    rows: dict[tuple, dict[str, str]] = {}

    def head_of(effect: Effect) -> str:
        parts = [effect.about[key] for key in columns] + [effect.outcome.name] * (len(outcomes) > 1)
        return ", ".join(parts) or effect.outcome.name

    for effect in found:
        row = rows.setdefault(tuple(effect.about[key] for key in left), {})
        if (head := head_of(effect)) in row:
            raise ValueError(f"two numbers for {head} of {effect.about}")
        shown = effect.verdict in (effect.outcome.below, effect.outcome.above)
        row[head] = f"**{effect.number}**" if shown else effect.number
    by_outcome = sorted(found, key=lambda effect: outcomes.index(effect.outcome))
    heads = dict.fromkeys(head_of(effect) for effect in by_outcome)
    body = [[*row, *(cells.get(head, "–") for head in heads)] for row, cells in rows.items()]
    return _markdown([HEADS.get(key, key) for key in left] + [*heads], body) + _source(found)


def numbers(study: str, file: str, columns: dict[str, tuple[str, str]], **only: Sequence[str]) -> str:
    """Return columns of a study's file as they are, no row twice: each with its heading and its format."""
    rows = kept(read(study, file), only)
    body = [tuple(_plain(row[name], form) for name, (_, form) in columns.items()) for row in rows]
    heads = [head for head, _ in columns.values()]
    return f"{_markdown(heads, dict.fromkeys(body))}\n\n*From [{study}/{file}](../results/{study}/{file}).*"


def _plain(value: object, form: str) -> str:
    if pd.isna(value):
        return "–"
    return form.format(value) if isinstance(value, str) else form.format(value).replace("-", "−")


def starred(found: Sequence[Effect]) -> str:
    """Say how many effects hold by Holm's method."""
    held = [effect for effect in found if effect.star]
    return f"Of the {len(found)} rows, {len(held)} have a star there."


def covered(study: str, file: str, value: float) -> str:
    """Say in how many rows of a table the interval covers a value."""
    rows = read(study, file)
    inside = ((rows["low"] <= value) & (value <= rows["high"])).sum()
    return f"The interval covers {value:g} in {inside} of {len(rows)} rows."


def level() -> str:
    """Return the level of all intervals."""
    return f"{LEVEL:.0%}".replace("%", " %")


def bar(study: str, method: str, ratio: str, most: float, end: float) -> str:
    """Say where a plan, solved again, leaves at most `most` of the loss, and its interval ends below `end`."""
    found = losses(study, method=[method], recovery=[RECOVERED["linear"]], ratio=[ratio])
    said = [
        f"{'met' if effect.value <= most and effect.high < end else 'not met'} on {effect.about['model']} with "
        f"{effect.about['text']}, {effect.number}"
        for effect in found
    ]
    return wrapped(f"The bar is {'; '.join(said)}.").replace("\n  ", "\n")


def _claims(studies: Sequence[str]) -> dict[str, dict[tuple, tuple[str, pd.Series, list[str]]]]:
    """Return by claim the unit, the row and the cells shown of each verdict that studies measured.

    A row that an earlier study has to the last digit is of the same cells, and left out.
    """
    found: dict[str, dict[tuple, tuple[str, pd.Series, list[str]]]] = {}
    for study in studies:
        table = read(study, "claims.csv").rename(columns={"low": "effect_low", "high": "effect_high"})
        published = table[table["kind"] == "paper's model"]
        for _, row in table[(table["verdict"] != "not run") & table["unit"].isin(UNITS)].iterrows():
            outcome = UNITS[row["unit"]]
            effect = effect_of("", outcome, row, "effect", ())
            least = _plain(row["minimum_detectable_effect"], OUTCOMES[outcome].form.replace("+", ""))
            same = published[(published["claim"] == row["claim"]) & (published["ratio"] == row["ratio"])]
            line = [f"[{study}](../results/{study}/claims.csv)", row["model"], row["ratio"]]
            line += [f"{row['draws']} × {row['n']}", effect.number, least, row["verdict"], _range(same)]
            claim = f"**{row['sentence'].rstrip('.')}** ({row['where']}), in {row['unit']}"
            key = row["model"], row["ratio"], effect.value, str(effect.low)
            found.setdefault(claim, {}).setdefault(key, (row["unit"], row, line))
    return found


def claims(*studies: str) -> str:
    """Return the verdicts on the paper's claims that studies measured, claim by claim, with their effects."""
    heads = ["study", "model", "removed", "draws × documents", "effect", "detectable", "verdict", "published"]
    return "\n\n".join(
        f"{claim}:\n\n{_markdown(heads, [line for _, _, line in rows.values()])}"
        for claim, rows in _claims(studies).items()
    )


def _range(published: pd.DataFrame) -> str:
    """Return the least and the largest effect that the paper printed, over its models."""
    printed = sorted(published["published"].dropna().astype(float))
    ends = dict.fromkeys([printed[0], printed[-1]]) if printed else {}
    return " to ".join(f"{end:+g}" for end in ends).replace("-", "−") or "–"


def verdicts(*studies: str) -> str:
    """Count the verdicts of `claims` by what they are about."""
    rows = [(unit, row["verdict"]) for found in _claims(studies).values() for unit, row, _ in found.values()]
    counts = Counter(rows)
    said = []
    for unit in dict.fromkeys(unit for unit, _ in rows):
        kinds = [f"{counts[unit, kind]} *{kind}*" for kind in KINDS if counts[unit, kind]]
        name = "accuracy" if unit == "points" else unit
        said.append(f"{sum(of == unit for of, _ in rows)} on {name}, {series(kinds)}")
    return wrapped(f"- **The paper's claims.** Of {len(rows)} verdicts {'; '.join(said)}.")


def _markdown(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _source(found: Sequence[Effect]) -> str:
    asks = "; ".join(dict.fromkeys(effect.asks for effect in found if effect.asks))
    files = series(
        [f"[{file}](../results/{file})" for file in dict.fromkeys(effect.file for effect in found)]
    )
    return f"\n\n*{asks[0].upper()}{asks[1:]}; from {files}.*" if asks else f"\n\n*From {files}.*"


SPEAKERS = (effects, compared, across, lost, losses, factors, ranks, say, table)
SPEAKERS += (numbers, covered, starred, level, bar, claims, verdicts, accuracy, about)


def page() -> str:
    """Return the page that the template makes of the results."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    jinja.filters["indented"] = lambda text: indent(text, "  ")
    jinja.globals |= {"STUDIES": STUDIES} | {function.__name__: function for function in SPEAKERS}
    return jinja.get_template(TEMPLATE.name).render()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
