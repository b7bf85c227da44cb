"""The published advantages of entropy over other methods, with every task left out in turn."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import known_tasks
from hfprune.paper.printed import CONFIDENT, read_tables
from hfprune.report.style import METHODS

SAME = ["table", "model", "ratio", "recovery"]


@cache
def advantages(paper: Path) -> pd.DataFrame:
    """Return one row per published comparison of entropy with another method at the same ratio and recovery.

    In points over its `tasks`: `advantage`, the mean difference, also without BoolQ and without CrowS-Pairs;
    `least` and `most`, its extremes with one task left out; `stderr`, computed from the printed accuracies and the
    numbers of questions as if two models' answers were independent. `doubts`: those that the transcription of the
    tables marks. `below the majority`: accuracies below the share of the task's commoner class.
    """
    rows, lines = read_tables(paper), []
    rows = rows[rows["task"].isin(known_tasks()) & (rows["method"] != "dense")]
    for at, part in rows.groupby(SAME):
        scores = part.pivot(index="method", columns="task", values="value")
        for other in scores.index.difference(["entropy"]) if "entropy" in scores.index else ():
            pair = scores.loc[["entropy", other]].dropna(axis="columns")
            doubts = part.loc[
                part["method"].isin(pair.index) & (part["confidence"] != CONFIDENT), "confidence"
            ]
            place = dict(zip(SAME, at, strict=True))
            about = {"over": METHODS[other].label, "tasks": pair.shape[1]}
            lines.append(place | about | {"doubts": ", ".join(sorted({*doubts}))} | _row(pair))
    return pd.DataFrame(lines)


def _row(pair: pd.DataFrame) -> dict[str, float | str | None]:
    apart = pair.iloc[0] - pair.iloc[1]
    left = {task: apart.drop(task).mean() for task in apart.index}
    tasks = {name: known_tasks()[name] for name in pair}
    questions = pd.Series({name: task.documents for name, task in tasks.items()})
    variance = (pair * (100 - pair) / questions).to_numpy().sum()
    low = [
        f"{METHODS[side].label}, {name}, {pair.loc[side, name]:g} < {task.majority:g}"
        for side in pair.index
        for name, task in tasks.items()
        if task.majority and pair.loc[side, name] < task.majority
    ]
    return {
        "advantage": apart.mean(),
        "without BoolQ": left.get("boolq"),
        "without CrowS": left.get("crows_pairs_english"),
        "least": min(left.values()),
        "most": max(left.values()),
        "stderr": np.sqrt(variance) / len(apart),
        "below the majority": "; ".join(low),
    }
