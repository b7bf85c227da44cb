"""A study's numbers beside those of another run of it: what is equal, what is not, and what may be why."""

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from hfprune.analysis.tidy import Tidy, read_csv
from hfprune.results import KEY
from hfprune.rounding import percent
from hfprune.study import paths

# What float32 sums in another order may change, relative to the value.
ROUNDING = 1e-4
EQUAL, ROUNDED, INSIDE = "equal", "within rounding", "within the interval"
OUTSIDE, MISSING, ADDED = "outside the interval", "missing", "added"
JUDGED = ["claim", "model", "kind", "ratio", "metric"]


def reproduction(kept: Tidy, made: Tidy) -> tuple[bool, str]:
    """Return whether a run gives the kept numbers, and the comparison as Markdown.

    A value is compared unless it is a time or memory; its interval is the kept one, over draws and items for a
    level, twice its standard error for a seed, and 2 % of it where neither is known.
    """
    by = KEY[1:]
    both = kept.whole.merge(made.whole, "outer", by, suffixes=("", "_made"), indicator="side")
    metrics = [kept.declared.find(*pair).metric for pair in both[["measure", "metric"]].to_numpy()]
    both = both[[metric.repeatable for metric in metrics]]
    gap, size = (both["value_made"] - both["value"]).abs(), both["value"].abs()
    half = 2 * both["stderr"].fillna(0.01 * size)
    inside = both["value_made"].between(
        both["low"].fillna(both["value"] - half), both["high"].fillna(both["value"] + half)
    )
    equal = both["value"].eq(both["value_made"]) | both[["value", "value_made"]].isna().all(axis=1)
    tests = [both["side"] == "left_only", both["side"] == "right_only", equal, gap <= ROUNDING * size, inside]
    found = pd.Series(np.select(tests, [MISSING, ADDED, EQUAL, ROUNDED, INSIDE], OUTSIDE), both.index)
    counts = pd.crosstab(both["measure"], found)
    counts = counts.reindex(columns=[EQUAL, ROUNDED, INSIDE, OUTSIDE, MISSING, ADDED], fill_value=0)
    changed = [*_changed(kept, made)]
    same = not counts[[OUTSIDE, MISSING]].any(axis=None) and not changed
    answer = "Numbers within the intervals" if counts[INSIDE].any() else "The same numbers, up to rounding"
    answer = f"{answer if same else 'Not the same numbers'}: {made.folder}."
    lines = [answer, "", counts.to_markdown(), ""]
    if gap.max() > 0:
        row = both.loc[(gap / size.where(size > 0, 1)).idxmax()]
        where = ", ".join(str(row[name]) for name in by if pd.notna(row[name]) and row[name] != "")
        lines.append(f"The largest difference: {row['value']:.6g} → {row['value_made']:.6g} ({where}).")
    lines += [f"The verdict changed: {line}." for line in changed]
    lines += ["The study differs: see both study.yaml."] * (kept.study != made.study)
    lines += _differing(kept.records, made.records)
    return same, "\n".join(lines) + "\n"


def _changed(kept: Tidy, made: Tidy) -> Iterator[str]:
    """Yield the claims whose verdict is another."""
    old, new = (data.folder / paths.CLAIMS for data in (kept, made))
    if old.exists() and new.exists():
        pairs = (
            read_csv(old)
            .merge(read_csv(new), "outer", on=JUDGED, suffixes=("", "_made"))
            .fillna({"verdict": "none", "verdict_made": "none"})
        )
        for row in pairs[pairs["verdict"] != pairs["verdict_made"]].itertuples():
            yield f"{row.claim}, {row.model}, {percent(row.ratio)}: {row.verdict} → {row.verdict_made}"


def _differing(kept: pd.DataFrame, made: pd.DataFrame) -> Iterator[str]:
    """Yield the versions, the precision and the hardware that differ."""
    for column in ("packages", "hardware", "settings"):
        old, new = (
            {text: json.loads(text) for text in rows[column].unique()}.values() for rows in (kept, made)
        )
        names = dict.fromkeys(name for one in (*old, *new) for name in one)
        for name in names if column != "settings" else ("dtype",):
            before, after = ({str(one[name]) for one in side if name in one} for side in (old, new))
            if before != after:
                shown = (", ".join(sorted(side)) or "not kept" for side in (before, after))
                yield f"{name} differs: {' → '.join(shown)}."
