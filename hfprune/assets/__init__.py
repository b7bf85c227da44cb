"""Assets: models, corpora, tasks, instruction pairs and requests; fetched once, pinned and hashed."""

from hfprune.assets.corpora import fetch_corpus, read_corpus
from hfprune.assets.formats import is_fetched
from hfprune.assets.instructions import fetch_instructions, read_instructions
from hfprune.assets.models import fetch_model
from hfprune.assets.prefetch import announce, pinned
from hfprune.assets.requests import fetch_requests, read_requests
from hfprune.assets.resolving import FETCHERS, resolve
from hfprune.assets.stock import scored_split, stock_yaml
from hfprune.assets.tasks import fetch_task, task_file

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
    "resolve",
    "scored_split",
    "stock_yaml",
    "task_file",
]
