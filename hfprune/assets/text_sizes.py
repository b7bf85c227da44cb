"""How much there is to read in the catalogue's tasks, corpora and instructions (`text_sizes.yaml`)."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from hfprune.assets.known_tasks import known_task


class Reading(NamedTuple):
    """The documents of an asset, and the tokens that are read of one, on average."""

    documents: int
    tokens: float


@cache
def _table() -> dict[str, dict[str, list[int]]]:
    return yaml.safe_load(Path(__file__).with_name("text_sizes.yaml").read_text())


def tokens_of(names: Iterable[str], documents: int | None) -> float:
    """Return the tokens of so many documents, or of all, of each task."""
    sizes = [known_task(name) for name in names]
    return sum(min(documents or size.documents, size.documents) * size.tokens for size in sizes)


def blocks(corpus: str, sequences: int, length: int, sampling: str) -> int:
    """Return the number of blocks that a corpus gives; a corpus that is not written down gives all."""
    known = _table()["corpora"].get(Path(corpus).name)
    if known is None:
        return sequences
    documents, tokens = known
    return max(1, min(sequences, documents if sampling == "crop" else documents * tokens // length))


def pairs_to_learn(instructions: Path) -> Reading:
    """Return the number of instruction pairs in a folder and the tokens of one, prompt included.

    Some are known by their names; others are counted, a token as four bytes; what is not there counts as LaMini's.
    """
    known, about = _table()["instructions"], instructions / "asset.json"
    if instructions.name in known or not about.is_file():
        return Reading(*known.get(instructions.name, known["lamini"]))
    made = json.loads(about.read_text())
    return Reading(made["pairs"], sum(file["bytes"] for file in made["files"].values()) / 4 / made["pairs"])
