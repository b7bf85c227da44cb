"""The published advantages of entropy over other methods, with every task left out in turn."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hfprune.paper.printed import CONFIDENT, read_tables
from hfprune.report.style import METHODS

# The questions of each benchmark; and of the tasks with two classes, the percentage of the commoner one.
QUESTIONS = {"arc_challenge": 1172, "arc_easy": 2376, "boolq": 3270, "crows_pairs_english": 1677}
QUESTIONS |= {"openbookqa": 500, "piqa": 1838, "race": 1045, "social_iqa": 1954, "truthfulqa_mc2": 817}
QUESTIONS |= {"winogrande": 1267}
MAJORITY = {"boolq": 62.2, "piqa": 50.5, "winogrande": 50.4}
SAME = ["table", "model", "ratio", "recovery"]


@cache
def advantages(paper: Path) -> pd.DataFrame:
    """Return a row a published comparison of entropy with another method at the same ratio and recovery.

    In points over its `tasks`: `advantage`, the mean difference, also without BoolQ and without CrowS-Pairs;
    `least` and `most`, without the task that makes it so; `stderr`, by arithmetic from the printed accuracies and
    the numbers of questions, if two models' answers were independent. `doubts`: those that the transcription of
    the tables marks. `below the majority`: accuracies below the share of the task's commoner class.
    """
    rows, found = read_tables(paper), []
    rows = rows[rows["task"].isin(QUESTIONS) & (rows["method"] != "dense")]
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
            found.append(dict(zip(SAME, at, strict=True)) | about | _row(both))
    return pd.DataFrame(found)


def _row(both: pd.DataFrame) -> dict[str, Any]:
    apart = both.iloc[0] - both.iloc[1]
    left = {task: apart.drop(task).mean() for task in apart.index}
    variance = (both * (100 - both) / pd.Series(QUESTIONS)[both.columns]).to_numpy().sum()
    low = [
        f"{METHODS[side].label}, {task}, {both.loc[side, task]:g} < {share}"
        for side in both.index
        for task, share in MAJORITY.items()
        if task in both and both.loc[side, task] < share
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
