"""Sizes of the catalogue's tasks, corpora and instructions (`text_sizes.yaml`)."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from hfprune.assets.known_tasks import known_task


class Reading(NamedTuple):
    """Number of documents of an asset, and mean tokens of one."""

    documents: int
    tokens: float


@cache
def _table() -> dict[str, dict[str, list[int]]]:
    return yaml.safe_load(Path(__file__).with_name("text_sizes.yaml").read_text())


def tokens_of(names: Iterable[str], documents: int | None) -> float:
    """Return the tokens in `documents` documents of each task, or in all if None."""
    sizes = [known_task(name) for name in names]
    return sum(min(documents or size.documents, size.documents) * size.tokens for size in sizes)


def blocks(corpus: str, sequences: int, length: int, sampling: str) -> int:
    """Return the number of blocks that a corpus gives; a corpus of unknown size gives `sequences`."""
    size = _table()["corpora"].get(Path(corpus).name)
    if size is None:
        return sequences
    documents, tokens = size
    return max(1, min(sequences, documents if sampling == "crop" else documents * tokens // length))


def pairs_to_learn(instructions: Path) -> Reading:
    """Return the number of instruction pairs in a folder and the tokens of one, prompt included.

    Sizes come from the table, or else from the fetched files (four bytes per token), or else are LaMini's.
    """
    sizes, record = _table()["instructions"], instructions / "asset.json"
    if instructions.name in sizes or not record.is_file():
        return Reading(*sizes.get(instructions.name, sizes["lamini"]))
    about = json.loads(record.read_text())
    total = sum(file["bytes"] for file in about["files"].values())
    return Reading(about["pairs"], total / 4 / about["pairs"])
