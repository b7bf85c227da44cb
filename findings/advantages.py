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
    """Return a row a published comparison of entropy with another method at the same ratio and recovery.

    In points over its `tasks`: `advantage`, the mean difference, also without BoolQ and without CrowS-Pairs;
    `least` and `most`, without the task that makes it so; `stderr`, by arithmetic from the printed accuracies and
    the numbers of questions, if two models' answers were independent. `doubts`: those that the transcription of
    the tables marks. `below the majority`: accuracies below the share of the task's commoner class.
    """
    rows, lines = read_tables(paper), []
    rows = rows[rows["task"].isin(known_tasks()) & (rows["method"] != "dense")]
    for at, part in rows.groupby(SAME):
        scores = part.pivot(index="method", columns="task", values="value")
        for other in scores.index.difference(["entropy"]) if "entropy" in scores.index else ():
            both = scores.loc[["entropy", other]].dropna(axis="columns")
            doubts = part.loc[
                part["method"].isin(both.index) & (part["confidence"] != CONFIDENT), "confidence"
            ]
            about = {
                "over": METHODS[other].label,
                "tasks": both.shape[1],
                "doubts": ", ".join(sorted({*doubts})),
            }
            lines.append(dict(zip(SAME, at, strict=True)) | about | _row(both))
    return pd.DataFrame(lines)


def _row(both: pd.DataFrame) -> dict[str, float | str | None]:
    apart = both.iloc[0] - both.iloc[1]
    left = {task: apart.drop(task).mean() for task in apart.index}
    known = {name: known_tasks()[name] for name in both}
    questions = pd.Series({name: task.documents for name, task in known.items()})
    variance = (both * (100 - both) / questions).to_numpy().sum()
    low = [
        f"{METHODS[side].label}, {name}, {both.loc[side, name]:g} < {task.majority:g}"
        for side in both.index
        for name, task in known.items()
        if task.majority and both.loc[side, name] < task.majority
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
