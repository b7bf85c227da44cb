"""What ran, on what, and for how long."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.cells import DENSE
from hfprune.page.study_results import StudyResults
from hfprune.report.looks import looks_of
from hfprune.rounding import percent
from hfprune.study import paths


def facts(study: StudyResults) -> dict[str, Any]:
    """Return `facts` on what ran, where and how long, as words by heading, and links to its `files`."""
    data, made = study.data, study.provenance
    tidy = data.results
    pruned = tidy[tidy["method"] != DENSE]
    blanks = len(data.blanks)
    ratios = sorted(pruned["ratio"].dropna().unique())
    found: dict[str, list[str]] = {
        "Models": sorted(tidy["model"].unique()),
        "Methods": [
            looks_of(data)[method].label for method in looks_of(data) if method in {*pruned["method"]}
        ],
        "Parameters removed": [percent(ratio) for ratio in ratios],
        "Draws of the calibration": [str(pruned["draw"].nunique())],
        "Recovery": sorted(name for name in tidy["recovery"].unique() if name != "none") or ["none"],
        "Measured": [*_measures(study)],
        "Not applicable": [f"{blanks} cells, whose method could not cut what it names"] * (blanks > 0),
        "Machines": [_machine(one) for one in made.get("hardware", [])],
        "Time": [*_times(study)],
        "Beside the committed numbers": [" ".join(_check(data.folder / paths.CHECK))],
        "Versions": [
            *(f"hfprune {version}" for version in made.get("hfprune", [])),
            *(f"commit {commit[:12]}{'+changes' * ('+' in commit)}" for commit in made["git"]),
            *(f"{name} {version}" for one in made.get("packages", []) for name, version in one.items()),
        ],
    }
    files = ("results.csv", "claims.csv", paths.EFFECTS, "items.parquet", "records.parquet", paths.CHECK)
    facts = {heading: ", ".join(filter(None, dict.fromkeys(words))) for heading, words in found.items()}
    return {
        "facts": {heading: words for heading, words in facts.items() if words},
        "files": [(name, f"{study.link}/{name}") for name in files if (data.folder / name).exists()],
    }


def _check(file: Path) -> list[str]:
    """Return the sentences of `hfprune check`, without its table of counts and its list."""
    made = file.with_name("results.csv")
    current = file.exists() and file.stat().st_mtime >= made.stat().st_mtime
    lines = file.read_text(encoding="utf-8").splitlines() if current else []
    return [line for line in lines if line and not line.startswith(("|", "- "))]


def _measures(study: StudyResults) -> list[str]:
    found = []
    for (measure, task), rows in study.data.results.groupby(["measure", "task"], sort=False):
        n = rows["n"].max()
        on = f" on {task}" if task else ""
        found.append(f"{measure}{on}" + ("" if pd.isna(n) else f" (n = {int(n):,})"))
    return found


def _machine(made: dict[str, Any]) -> str:
    gpus = made.get("cuda") or []
    words = [str(made.get("processor") or made.get("machine") or "unknown processor")]
    words.append(f"{made['cores']} cores" if made.get("cores") else "")
    words.append(", ".join(f"{gpus.count(gpu)} × {gpu}" for gpu in dict.fromkeys(gpus)) or "no GPU")
    return ", ".join(filter(None, words))


def _times(study: StudyResults) -> list[str]:
    starts = [study.provenance.get(name) or [] for name in ("first_started", "last_started")]
    found = []
    if all(starts):
        first, last = (datetime.fromisoformat(start[0]) for start in starts)
        found.append(f"{first:%Y-%m-%d %H:%M} to {last:%H:%M %Z} ({_span((last - first).total_seconds())})")
    tidy = study.data.results
    for measure, word in (("cost", "scoring"), ("recovery", "recovery")):
        seconds = tidy.loc[(tidy["measure"] == measure) & (tidy["metric"] == "seconds"), "value"]
        if len(seconds):
            found.append(f"{word}: {_span(seconds.sum())} in {len(seconds)} runs")
    return found


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
