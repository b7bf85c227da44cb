"""What ran, on what, and for how long."""

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hfprune.cells import DENSE
from hfprune.page.study_results import StudyResults
from hfprune.report.looks import looks_of
from hfprune.rounding import percent
from hfprune.runs import Hardware
from hfprune.study import paths


class Ran(NamedTuple):
    """What ran, where and how long."""

    commits: list[str]
    facts: dict[str, str]
    """Words by heading."""
    files: list[tuple[str, str]]
    """Names and links."""


def facts(study: StudyResults) -> Ran:
    """Return what ran in a study."""
    data, tidy = study.data, study.data.results

    def distinct(column: str) -> list[str]:
        """Return the entries of a column of the records, each once."""
        return [*dict.fromkeys(text for text in data.records[column] if text not in ("", "{}"))]

    commits, packages = distinct("commit"), map(json.loads, distinct("packages"))
    pruned = tidy[tidy["method"] != DENSE]
    blanks = len(data.blanks)
    ratios = sorted(pruned["ratio"].dropna().unique())
    words: dict[str, list[str]] = {
        "Models": sorted(tidy["model"].unique()),
        "Methods": [
            looks_of(data)[method].label for method in looks_of(data) if method in {*pruned["method"]}
        ],
        "Parameters removed": [percent(ratio) for ratio in ratios],
        "Draws of the calibration": [str(pruned["draw"].nunique())],
        "Recovery": sorted(name for name in tidy["recovery"].unique() if name != "none") or ["none"],
        "Measured": [*_measures(study)],
        "Not applicable": [f"{blanks} cells, whose method could not cut what it names"] if blanks else [],
        "Machines": [_machine(json.loads(text)) for text in distinct("hardware")],
        "Time": [*_times(tidy, sorted(distinct("started")))],
        "Beside the committed numbers": [" ".join(_check(data.folder / paths.CHECK))],
        "Versions": [
            *(f"hfprune {version}" for version in distinct("version")),
            *(f"commit {commit[:12]}{'+changes' if '+' in commit else ''}" for commit in commits),
            *(f"{name} {version}" for some in packages for name, version in some.items()),
        ],
    }
    files = ("results.csv", "claims.csv", paths.EFFECTS, "items.parquet", "records.parquet", paths.CHECK)
    facts = {heading: ", ".join(filter(None, dict.fromkeys(several))) for heading, several in words.items()}
    return Ran(
        commits,
        facts={heading: text for heading, text in facts.items() if text},
        files=[(name, f"{study.link}/{name}") for name in files if (data.folder / name).exists()],
    )


def _check(file: Path) -> list[str]:
    """Return the sentences of `hfprune check`, without its table of counts and its list."""
    results = file.with_name("results.csv")
    current = file.exists() and file.stat().st_mtime >= results.stat().st_mtime
    lines = file.read_text(encoding="utf-8").splitlines() if current else []
    return [line for line in lines if line and not line.startswith(("|", "- "))]


def _measures(study: StudyResults) -> list[str]:
    measures = []
    for (measure, task), rows in study.data.results.groupby(["measure", "task"], sort=False):
        n = rows["n"].max()
        on = f" on {task}" if task else ""
        measures.append(f"{measure}{on}" + ("" if pd.isna(n) else f" (n = {int(n):,})"))
    return measures


def _machine(hardware: Hardware) -> str:
    gpus = hardware.get("cuda") or []
    words = [str(hardware.get("processor") or hardware.get("machine") or "unknown processor")]
    words.append(f"{hardware['cores']} cores" if hardware.get("cores") else "")
    words.append(", ".join(f"{gpus.count(gpu)} × {gpu}" for gpu in dict.fromkeys(gpus)) or "no GPU")
    return ", ".join(filter(None, words))


def _times(tidy: pd.DataFrame, started: list[str]) -> list[str]:
    times = []
    if started:
        first, last = (datetime.fromisoformat(text) for text in (started[0], started[-1]))
        times.append(f"{first:%Y-%m-%d %H:%M} to {last:%H:%M %Z} ({_span((last - first).total_seconds())})")
    for measure, word in (("cost", "scoring"), ("recovery", "recovery")):
        seconds = tidy.loc[(tidy["measure"] == measure) & (tidy["metric"] == "seconds"), "value"]
        if len(seconds):
            times.append(f"{word}: {_span(seconds.sum())} in {len(seconds)} runs")
    return times


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
