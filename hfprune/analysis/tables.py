"""The paper's tables, made from the tidy table alone, as CSV, Markdown and LaTeX."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hfprune.analysis.averages import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    CROWS,
    over_seeds,
    spread,
    with_averages,
)
from hfprune.analysis.collect import read_collected
from hfprune.analysis.style import looks, metric_label, tasks_in_order
from hfprune.files import atomic_file
from hfprune.results import DENSE

GIB = 2**30
MISSING = "–"
HEADS = ("model", "recovery", "ratio", "method")  # what tells rows apart; the last, rows of a group
WORDS = (*HEADS, "claim", "kind", "metric", "verdict", "note")  # columns of words, which are flush left


def _low(values: pd.Series) -> pd.Series:
    return values


def _high(values: pd.Series) -> pd.Series:
    return -values


def _near_half(values: pd.Series) -> pd.Series:
    return (values - 50).abs()


@dataclass(frozen=True)
class Column:
    """A column of numbers: its name in the CSV, its heading, and how a number is shown.

    The pruned method with the smallest `penalty` is the best of its group; without a penalty none is.
    """

    key: str
    heading: str
    shown: str = "{:.1f}"
    penalty: Callable[[pd.Series], pd.Series] | None = None
    with_spread: bool = True


@dataclass(frozen=True)
class Table:
    """A finished table: numbers for machines, strings for readers (the best as `**1.0**`), and what they mean.

    `groups` numbers the group of each row; LaTeX draws a rule between groups.
    """

    caption: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    groups: pd.Series
    notes: list[str]


def criterion(results: pd.DataFrame) -> Table:
    """Return the zero-shot accuracy (percent) under each method, the paper's Table 6."""
    zeroshot = with_averages(results)
    zeroshot[["value", "stderr"]] *= 100
    removed = results[(results["measure"] == "size") & (results["metric"] == "parameter_ratio")]
    values = over_seeds(pd.concat([zeroshot, removed]) if len(zeroshot) else zeroshot)
    values["key"] = values["task"].where(values["measure"] == "zeroshot", values["metric"])

    primary = zeroshot[zeroshot["metric"] != AVERAGE]
    crows = set(primary.loc[primary["metric"] == CROWS, "task"])
    tasks = tasks_in_order(primary["task"])
    columns = [
        Column("parameter_ratio", "Removed", "{:.1%}", with_spread=False),
        *(Column(t, task.short, penalty=_near_half if t in crows else _high) for t, task in tasks.items()),
        Column(AVERAGE, "Average", penalty=_high),
    ]
    notes = [
        "Removed: measured share of all parameters.",
        f"Items per task: {_range(primary['n'])}.",
        "Average: plain mean of all tasks shown; a model that lacks one has none.",
    ]
    if crows:
        columns.append(Column(AVERAGE_WITHOUT_CROWS, "Average w/o Crows", penalty=_high))
        notes.append(
            "Crows: share of stereotypes, ideally 50; Average counts it as an accuracy, as the paper does."
        )
    untuned = ", without tuning" if set(values["recovery"]) == {"none"} else ""
    return _table(f"Zero-shot accuracy (%) of the pruned models{untuned}.", values, columns, notes)


FIDELITY = {  # metric without its top<k>_ → how it is shown and judged, in the order of the columns
    "js_distance": ("{:.3f}", _low),
    "jaccard": ("{:.3f}", _high),
    "kl_divergence": ("{:.3f}", _low),
    "perplexity": ("{:,.2f}", _low),
}


def fidelity(results: pd.DataFrame) -> Table:
    """Return the distance of the outputs to the dense model's, the paper's Table 7, with KL and perplexity."""
    values = over_seeds(results[results["measure"].isin(["fidelity", "perplexity"])])
    values["kind"] = values["metric"].str.replace(r"^top\d+_", "", regex=True)
    values = values[values["kind"].isin(FIDELITY)]
    corpora = Counter(metric for metric, _ in {*zip(values["metric"], values["task"], strict=True)})
    # A corpus is named in the heading only where there are several to tell apart.
    suffix = (" " + values["task"]).where(values["metric"].map(corpora) > 1, "")
    values = values.assign(key=values["metric"] + suffix, heading=values["metric"].map(metric_label) + suffix)
    heads = values[["kind", "key", "heading"]].drop_duplicates()
    heads = heads.sort_values(
        ["kind", "key"], key=lambda x: x.map([*FIDELITY].index) if x.name == "kind" else x
    )
    columns = [Column(head.key, head.heading, *FIDELITY[head.kind]) for head in heads.itertuples()]
    notes = [
        f"{measure.capitalize()} on {corpus}: n = {_range(n)}."
        for (measure, corpus), n in values.groupby(["measure", "task"])["n"]
    ]
    return _table("Distance of the pruned models' outputs to the dense model's.", values, columns, notes)


def cost(results: pd.DataFrame) -> Table:
    """Return what scoring with each method costs, the paper's Table 5, also as multiples of entropy's cost."""
    values = over_seeds(results[results["measure"] == "cost"])
    memory = values["metric"] == "peak_memory_bytes"
    values.loc[memory, ["value", "sd", "stderr"]] /= GIB
    values["key"] = values["metric"].where(~memory, "peak_memory_gib")
    columns = [Column("seconds", "Time (s)"), Column("peak_memory_gib", "Peak memory (GiB)", "{:.2f}")]
    entropy = values[values["method"] == "entropy"].set_index(["model", "key"])["value"]
    if len(entropy):
        base = entropy.reindex(pd.MultiIndex.from_frame(values[["model", "key"]])).array
        multiples = values.assign(key=values["key"] + "_to_entropy", value=values["value"] / base)
        values = pd.concat([values, multiples])
        columns += [
            Column("seconds_to_entropy", "Time / Entropy", "{:.2f}", with_spread=False),
            Column("peak_memory_gib_to_entropy", "Memory / Entropy", "{:.2f}", with_spread=False),
        ]
    notes = ["Scores are computed once and serve every ratio."]
    if "agreement" in set(values["key"]):
        columns += [
            Column("sequences", "Sequences", "{:,.0f}", with_spread=False),
            Column("agreement", "Agreement", "{:.3f}", with_spread=False),
        ]
        notes.append(
            "Agreement: share of neurons kept by both halves of the calibration, cut to half the width."
        )
    return _table(
        "Cost of scoring the neurons with each method.", values, columns, notes, ["model", "method"]
    )


# The name of a table's files, and what makes it from the tidy table.
TABLES: dict[str, Callable[[pd.DataFrame], Table]] = {
    "criterion": criterion,
    "fidelity": fidelity,
    "cost": cost,
}


def write_tables(results: Path, out: Path) -> None:
    """Write every table of `TABLES` as `<name>.csv`, `.md` and `.tex`.

    The CSV has the bare numbers, accuracies in percent and ratios as fractions; the others `value ± spread`.

    Args:
        results: the `results.parquet` of `hfprune.analysis.collect.collect`.
        out: folder, created where missing.

    Raises:
        HfpruneError: `results` is missing, or a task has no metric that the paper's rule knows.
    """
    tidy = read_collected(results)
    for name, make in TABLES.items():
        table = make(tidy)
        texts = {
            "csv": table.numbers.to_csv(index=False, float_format="%.8g", lineterminator="\n"),
            "md": markdown(table),
            "tex": latex(table, name),
        }
        write_texts(out, name, texts)


def write_texts(out: Path, name: str, texts: dict[str, str]) -> None:
    """Write each text, given by its suffix, atomically as `<out>/<name>.<suffix>`."""
    for suffix, text in texts.items():
        with atomic_file(out / f"{name}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def _table(
    caption: str,
    values: pd.DataFrame,
    columns: list[Column],
    notes: list[str],
    row: Sequence[str] = HEADS,
) -> Table:
    """Lay out rows of `over_seeds`, each with the `key` of its column."""
    row = [*row]
    # What follows a number, and how: with several seeds the deviation over them, and over items in brackets.
    widths = {"sd": " ± {}", "stderr": " ({})"} if spread(values) == "sd" else {"stderr": " ± {}"}
    rank = [*looks(values["method"])].index
    rows = values[row].drop_duplicates()
    rows = rows.sort_values(row, key=lambda part: part.map(rank) if part.name == "method" else part)
    cells = pd.MultiIndex.from_product([["value", *widths], [column.key for column in columns]])
    wide = values.pivot(index=row, columns="key", values=["value", *widths])
    wide = wide.reindex(index=pd.MultiIndex.from_frame(rows), columns=cells).reset_index(drop=True)
    rows = rows.reset_index(drop=True)
    groups = rows.groupby(row[:-1]).ngroup()

    numbers, shown = rows.copy(), _row_heads(rows)
    for column in columns:
        value = wide["value", column.key]
        numbers[column.key] = value
        texts = _texts(value, column.shown, MISSING)
        for width, sign in widths.items() if column.with_spread else ():
            numbers[f"{column.key}_{width}"] = wide[width, column.key]
            texts += _texts(wide[width, column.key], sign.format(column.shown))
        best = _best(value, column, rows["method"], groups)
        shown[column.heading] = [
            f"**{text}**" if mark else text for text, mark in zip(texts, best, strict=True)
        ]
    return Table(caption, numbers, shown, groups, [*_legend(shown, values), *notes])


def _row_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the left columns as shown; a model or recovery that is the only one needs none."""
    shown = pd.DataFrame(index=rows.index)
    for part in ("model", "recovery"):
        if part in rows and rows[part].nunique() > 1:
            shown[part.capitalize()] = rows[part]
    if "ratio" in rows:
        shown["Ratio"] = [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]]
    names = looks(rows["method"])
    shown["Method"] = [names[method].label for method in rows["method"]]
    return shown


def _best(value: pd.Series, column: Column, methods: pd.Series, groups: pd.Series) -> pd.Series:
    """Mark the best of at least two pruned methods in each group, and those level with it."""
    if column.penalty is None:
        return pd.Series(False, value.index)
    penalty = column.penalty(value.where(methods != DENSE))
    in_group = penalty.groupby(groups)
    return pd.Series(np.isclose(penalty, in_group.transform("min")) & (in_group.transform("count") > 1))


def _texts(numbers: pd.Series, shown: str, missing: str = "") -> pd.Series:
    return numbers.map(lambda number: missing if np.isnan(number) else shown.format(number))


def _legend(shown: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    """Say what the marks mean that occur in the table."""
    text = " ".join(shown.to_numpy().ravel())
    legend = [] if text else ["Not measured."]
    if "±" in text:
        seeds = values.loc[values["seeds"] > 1, "seeds"]
        over = (
            f"standard deviation over {_range(seeds)} seeds; in brackets: standard error over items"
            if len(seeds)
            else "standard error over items, one seed"
        )
        legend.append(f"±: {over}.")
    if "**" in text:
        legend.append("Bold: best pruned method at its ratio.")
    return legend


def _range(numbers: pd.Series) -> str:
    low, high = numbers.min(), numbers.max()
    if pd.isna(low):
        return "unknown"
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def markdown(table: Table) -> str:
    """Return a table as Markdown: caption, table, notes."""
    rule = [":--" if column.lower() in WORDS else "--:" for column in table.shown]
    lines = [[*table.shown], rule, *table.shown.to_numpy().tolist()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table.caption}\n\n{body}\n\n{' '.join(table.notes)}\n"


def latex(table: Table, name: str) -> str:
    """Return a table as LaTeX, labelled `tab:<name>`, shrunk to the page only where it is wider."""
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in table.shown.to_numpy().tolist()]
    for i in reversed(np.flatnonzero(table.groups.diff() > 0)):
        rows.insert(i, r"\midrule")
    alignment = "".join("l" if column.lower() in WORDS else "r" for column in table.shown)
    lines = [
        r"% \usepackage{booktabs,adjustbox}",
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_tex(table.caption)}}}",
        rf"\label{{tab:{name}}}",
        r"\begin{adjustbox}{max width=\linewidth}",
        rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
        r"\toprule",
        " & ".join(map(_tex, table.shown)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\par\smallskip",
        rf"\parbox{{\linewidth}}{{{_tex(' '.join(table.notes))}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _tex(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text.translate(_TEX))


# What LaTeX reserves, and what the tables have beyond ASCII.
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "–": "--"}
)
