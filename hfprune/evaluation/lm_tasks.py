"""Tasks of lm-eval with its own prompts and metrics, on local documents and a model that is already loaded."""

import os
import random
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from hfprune.assets.known_tasks import known_task, preferred
from hfprune.assets.stock import examples_split, members, stock_yaml
from hfprune.cells import Value
from hfprune.cells.items import mean_value
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from lm_eval.api.model import LM

SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
# Metrics that are always from 0 to 1; the range of others, such as BLEU, may depend on the model.
SHARES = re.compile(r".*(acc|acc_norm|exact_match|em|f1|mc[12]|pass@\d+)")
# The variable by which the Hugging Face libraries ask, too.
ALLOW_CODE = "HF_ALLOW_CODE_EVAL"


@contextmanager
def offline_tasks(data: dict[str, dict[str, Path]], group: str = "") -> Iterator[TaskManager]:
    """Yield a task manager with the stock tasks in `data`, whose documents are read from local files.

    Args:
        data: task → split → Arrow file with its documents.
        group: the group of lm-eval to which these tasks belong, if any.
    """
    with tempfile.TemporaryDirectory(prefix="hfprune-tasks-") as folder:
        stock = members(group) if group else {name: members(name)[name] for name in data}
        for name, config in stock.items():
            override: dict[str, object] = {"include": str(stock_yaml(name))}
            if name in data:
                files = {split: str(file.resolve()) for split, file in data[name].items()}
                override |= {
                    "task": name,
                    "dataset_path": "arrow",
                    "dataset_name": None,
                    "dataset_kwargs": {"data_files": files},
                    "custom_dataset": None,
                }
                # lm-eval must not look for a split that is not there; `evaluate_task` checks whether it is needed.
                override |= {key: config[key] if config.get(key) in files else None for key in SPLITS}
            (Path(folder) / f"{name}.yaml").write_text(yaml.safe_dump(override))
        yield TaskManager(include_path=folder, include_defaults=False)


def evaluate_task(
    model: "LM",
    manager: TaskManager,
    name: str,
    documents: int | None,
    margin: bool = False,
    *,
    shots: int | None = 0,
    chat: bool = False,
    score: bool = False,
) -> tuple[list[Value], pd.DataFrame]:
    """Score a task or a group of tasks, with the same settings and seeds as lm-eval's `simple_evaluate`.

    That function warns about every setting that differs from the task's own, asks git about the current folder,
    and lists the machine's packages, all of which takes longer than a small task.

    Args:
        model: an lm-eval model.
        manager: a task manager that has the task.
        name: the task or group.
        documents: number of documents, a seeded sample that is the same for every model. A group has about this
            number in all, in proportion to its tasks, and at least one of each. None: all.
        margin: add the `margin` of each document, if exactly one of its choices is right.
        shots: examples before each question; None: the task's own number. As in lm-eval, a task with 0 keeps 0.
        chat: whether to use the model's chat template, with examples as turns.
        score: add the `score` of each document, if the task has a metric from 0 to 1 whose higher values are
            better: the first of `PRIMARY`, or else of its own, by its first filter. Its mean comes first.

    Returns:
        All metrics, as lm-eval aggregates them, with the name of a filter after a comma; and one row per document:
        `item` (its index, counted through a group), `target`, the metrics, and `loglikelihood` and `greedy` flag
        of each choice, or the generated `answer`.

    Raises:
        HfpruneError: examples or a chat template are missing, or answers are programs that would be run.
    """
    random.seed(0)
    np.random.seed(1234)
    torch.manual_seed(1234)
    unsafe = any(config.get("unsafe_code") for config in members(name).values())
    if unsafe and os.environ.get(ALLOW_CODE) != "1":
        raise HfpruneError(
            f"task {name!r}: runs the programs that the model writes; set {ALLOW_CODE}=1 where they can do no harm"
        )
    text = f"task {name!r}: lm-eval cannot load it: {REASON}"
    with explained(text, Exception, most=200):  # whatever a task's own code raises
        loaded = manager.load([name])
    tasks: dict[str, Any] = loaded["tasks"]
    if chat and not getattr(getattr(model, "tokenizer", None), "chat_template", None):
        raise HfpruneError(f"task {name!r}: the model's tokenizer has no chat template; leave chat out")
    for member, task in tasks.items():
        own = task.get_config("num_fewshot")
        keeps_own = shots is None or own == 0
        task.set_config(key="num_fewshot", value=(own or 0) if keeps_own else shots)
        task.set_fewshot_seed(seed=1234)
        _require_examples(member, task)
    sizes = {member: len(task.eval_docs) for member, task in tasks.items()}
    share = documents / sum(sizes.values()) if documents else 1
    drawn = {
        member: draw(member, size, documents if len(sizes) == 1 else max(1, round(share * size)))
        for member, size in sizes.items()
    }
    results = evaluate(
        lm=model,
        task_dict=loaded,
        samples=drawn if documents else None,
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        confirm_run_unsafe_code=True,  # checked above
    )
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    samples = results["samples"]
    parts = [_items(samples[member], starts[member], task) for member, task in tasks.items()]
    items = pd.concat(parts, ignore_index=True)
    values = _values(results["results"].get(name, {}), len(items))
    if margin and _one_right(task := tasks[name], name):
        ordered = sorted(samples[name], key=lambda sample: sample["doc_id"])
        items["margin"] = [_margin(task, sample) for sample in ordered]
        values.append(mean_value("margin", items))
    ratings = {metric: up for task in tasks.values() for metric, up in task.higher_is_better().items()}
    if score and (metric := _representing(items, ratings)):
        items["score"] = items[metric]
        values.insert(0, mean_value("score", items))
    return values, items


def _require_examples(name: str, task: Any) -> None:
    split = examples_split(members(name)[name])
    if task.config.num_fewshot and split and split not in task.dataset:
        raise HfpruneError(
            f"task {name!r}: its examples are of the split {split!r}, which its entry in config/assets.yaml "
            "lacks; take 0 shots, or let lm-eval load it, by `source: {provider: lm-eval}, format: lm-eval` there"
        )


def _representing(items: pd.DataFrame, ratings: Mapping[str, bool]) -> str:
    """Return the metric that represents a task, or ""; `ratings` tell for which metrics higher is better."""
    # By its name, not by its outcomes, so that it is the same for every model.
    rated = [name for name in items if ratings.get(name.partition(",")[0])]
    names = [name for name in rated if SHARES.fullmatch(name.partition(",")[0])]
    return next(iter([*preferred(names), *names]), "")


def _values(metrics: Mapping[str, object], n: int) -> list[Value]:
    values = []
    for key, value in metrics.items():
        metric, _, filter = key.partition(",")
        if filter and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = metrics.get(f"{metric}_stderr,{filter}")
            stderr = float(error) if isinstance(error, int | float) else None
            values.append(Value(_named(metric, filter), float(value), stderr, n))
    return values


def _named(metric: str, filter: str) -> str:
    return metric if filter == "none" else f"{metric},{filter}"


def _items(samples: Sequence[Mapping[str, Any]], start: int, task: Any) -> pd.DataFrame:
    """Return one row per document; each filter's metrics come in a sample of their own."""
    rows: dict[int, dict[str, object]] = {}
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        row = rows.setdefault(sample["doc_id"], _answered(sample, start))
        row |= {
            _named(key, sample["filter"]): float(sample[key])
            for key in sample["metrics"]
            if isinstance(sample[key], int | float)
        }
    return pd.DataFrame([*rows.values()])


def _answered(sample: Mapping[str, Any], start: int) -> dict[str, object]:
    answers = [response[0] for response in sample["resps"]]
    row = {"item": start + sample["doc_id"], "target": str(sample["target"])}
    if isinstance(answers[0], str):
        return row | {"answer": answers[0]}
    if not isinstance(answers[0], tuple):  # the likelihood of a whole document
        return row
    return row | {
        "loglikelihood": [float(value) for value, _ in answers],
        "greedy": [bool(hit) for _, hit in answers],
    }


def _one_right(task: Any, name: str) -> bool:
    """Tell whether each question has one right choice, and lm-eval itself chooses by log-likelihoods."""
    chosen = task.OUTPUT_TYPE == "multiple_choice" and not callable(task.config.process_results)
    return chosen and not task.multiple_target and known_task(name).one_right


def _margin(task: Any, sample: Mapping[str, Any]) -> float:
    """Return the log-likelihood of the right choice less that of the best wrong one, in nats.

    For a task with `acc_norm`, both are divided by the choices' lengths in characters, as in lm-eval
    (`ConfigurableTask.process_results`); the unit is then nats per character.
    """
    choices = task.doc_to_choice(sample["doc"])
    gold = task.doc_to_text(sample["doc"]) if task.multiple_input else task.doc_to_target(sample["doc"])
    right = choices.index(gold) if isinstance(gold, str) else gold
    lengths = [len(choice) if "acc_norm" in sample["metrics"] else 1 for choice in choices]
    # With mutual information, `resps` goes on with the unconditional log-likelihoods.
    scores = [response[0][0] / length for response, length in zip(sample["resps"], lengths, strict=False)]
    return float(scores[right] - max(score for index, score in enumerate(scores) if index != right))


def draw(task: str, count: int, documents: int | None) -> list[int]:
    """Return the sorted indices of a seeded sample of `documents` of a task's `count` documents; None: all."""
    if documents is None or documents >= count:
        return [*range(count)]
    # The first documents of a benchmark may come from one source or be of one length.
    return sorted(random.Random(derive_seed(0, "documents", task)).sample(range(count), documents))
