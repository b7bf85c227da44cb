"""How much there is to read in the catalogue's tasks, requests, corpora and instructions (`text_sizes.yaml`)."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class Reading(NamedTuple):
    """Documents of a task or of requests, on average."""

    documents: int
    tokens: float
    """Tokens of a document, as they are read."""
    positions: float
    """Positions of a document that are predicted."""
    paired: float
    """Tokens that a token is paired with in attention, masked ones too."""
    shared: float = 0
    """Tokens at the start of every document, its solved examples, which are read once."""

    def mean_tokens(self, documents: int) -> float:
        """Return the tokens that are read of each of so many documents, on average."""
        return self.tokens - self.shared * (1 - 1 / documents)


@cache
def _table() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("text_sizes.yaml").read_text())


def reading(kind: str, name: str) -> Reading:
    """Return how much there is to read in `tasks` or `requests`; an unknown one has the mean of the known."""
    known = {key: Reading(**entry) for key, entry in _table()[kind].items()}
    columns = zip(*known.values(), strict=True)
    return known.get(Path(name).name) or Reading(*(round(sum(column) / len(known)) for column in columns))


def blocks(corpus: str, sequences: int, length: int, sampling: str) -> int:
    """Return the number of blocks that a corpus gives; a corpus that is not written down gives all."""
    known = _table()["corpora"].get(Path(corpus).name)
    if known is None:
        return sequences
    return max(1, min(sequences, known["tokens"] // length if sampling == "pack" else known["documents"]))


def pairs_to_learn(instructions: str) -> tuple[int, float]:
    """Return the number of instruction pairs and the tokens of one, prompt included."""
    known = _table()["instructions"]
    entry = known.get(Path(instructions).name) or known["lamini"]
    return entry["pairs"], entry["tokens"]
