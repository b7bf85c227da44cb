"""The answers of a model to the questions of tasks, as lm-eval or the measure tasks kept them.

One table per task: by `item` and `doc_hash`, the `outcome` by `metric`, `shots`, the hash of the `prompt`, the
`loglikelihood` of every choice, the `target`, and by its name the outcome by each other metric of `PRIMARY`.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from hfprune.assets.formats import read_jsonl
from hfprune.assets.known_tasks import preferred
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import read_json

_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
Answers = dict[str, pd.DataFrame]


def read_logged(folder: Path) -> Answers:
    """Return the newest answers to every task in an output folder of lm-eval; empty if it holds none.

    Raises:
        HfpruneError: the folder holds results of several models, or a file is damaged or incomplete.
    """
    files = {file: name for file in folder.rglob("*.jsonl") if (name := _SAMPLES.fullmatch(file.name))}
    if len(homes := sorted({file.parent for file in files})) > 1:
        raise HfpruneError(f"{folder}: results of {len(homes)} models; give the folder of one, as {homes[0]}")
    newest = {files[file]["task"]: file for file in sorted(files, key=lambda file: files[file]["time"])}
    return {task: _logged(task, file, files[file]["time"]) for task, file in sorted(newest.items())}


def _logged(task: str, file: Path, time: str) -> pd.DataFrame:
    results = [*file.parent.glob(f"results_{time}.json")]  # of the same run
    if not results:
        raise HfpruneError(f"{file}: lm-eval's results_{time}.json is not beside it; copy the whole folder")
    if not file.stat().st_size:
        raise HfpruneError(f"{file}: holds no answers; run lm-eval again")
    with explained(f"{file}: not as lm-eval 0.4.3 or later logs: {REASON}", KeyError, IndexError, ValueError):
        rows = read_jsonl(file)
        # lm-eval repeats every question for each further filter.
        table = pd.DataFrame([row for row in rows if row["filter"] == rows[0]["filter"]])
        # A choice has its log-likelihood, and whether it is greedy, as texts; a generated answer is a text itself.
        choices = [[float(x[0]) for x in answer if isinstance(x, list)] for answer in table["filtered_resps"]]
        table = table.rename(columns={"doc_id": "item", "prompt_hash": "prompt"})
        table = table.assign(loglikelihood=choices, shots=read_json(results[0])["n-shot"][task])
        return _kept(task, table, rows[0]["metrics"])


def read_measured(folder: Path, tasks: Iterable[str]) -> Answers:
    """Return the answers in a folder of results of the measure tasks."""
    return {task: _measured(task, pd.read_parquet(folder / f"{task}.parquet")) for task in tasks}


def _measured(task: str, table: pd.DataFrame) -> pd.DataFrame:
    if "score" not in table:
        raise HfpruneError(f"task {task}: has no metric of which more is better, from 0 to 1; leave it out")
    if "loglikelihood" not in table:  # a generated answer
        table = table.assign(loglikelihood=[[]] * len(table))
    return _kept(task, table.assign(doc_hash="", prompt="", shots=0), preferred(table) or ["score"])


def _kept(task: str, table: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    metric, *others = preferred(metrics) or metrics[:1]
    values = {name: pd.to_numeric(table[name], errors="coerce").astype(float) for name in (metric, *others)}
    if not values[metric].between(0, 1).all():
        raise HfpruneError(
            f"task {task}: {metric} is not from 0 to 1 for every question; leave it out (--tasks)"
        )
    kept = ["metric", "outcome", "shots", "prompt", "loglikelihood", "target", *others]
    table = table.assign(**values, metric=metric, outcome=values[metric])
    return table.set_index(["item", "doc_hash"])[kept].sort_index()
