"""Assets: models, corpora, tasks, instruction pairs and requests; fetched once, pinned and hashed."""

from collections.abc import Callable
from typing import Any

from hfprune.assets.corpora import fetch_corpus, read_corpus
from hfprune.assets.formats import is_fetched
from hfprune.assets.instructions import fetch_instructions, read_instructions
from hfprune.assets.models import fetch_model
from hfprune.assets.prefetch import announce, pinned
from hfprune.assets.requests import fetch_requests, read_requests
from hfprune.assets.stock import scored_split, stock_yaml
from hfprune.assets.tasks import fetch_task, task_file

# The function that fetches each kind of asset: (name, catalogue entry, folder to write, folder of downloads).
FETCHERS: dict[str, Callable[..., Any]] = {
    "models": fetch_model,
    "corpora": fetch_corpus,
    "tasks": fetch_task,
    "instructions": fetch_instructions,
    "requests": fetch_requests,
}

__all__ = [
    "FETCHERS",
    "announce",
    "fetch_corpus",
    "fetch_instructions",
    "fetch_model",
    "fetch_requests",
    "fetch_task",
    "is_fetched",
    "pinned",
    "read_corpus",
    "read_instructions",
    "read_requests",
    "scored_split",
    "stock_yaml",
    "task_file",
]
