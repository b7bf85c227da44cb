"""Names that people write: the known one that is nearest, and lists that name nothing twice."""

import difflib
from collections.abc import Collection


def nearest(word: str, known: Collection[str], otherwise: str | None = None) -> str:
    """Return `"; did you mean 'x'?"` or, with no near match, `otherwise`: by default the list of known words."""
    if match := difflib.get_close_matches(word, known, n=1):
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(known) or 'none'}" if otherwise is None else otherwise


def distinct(values: list) -> list:
    """Return `values`, or raise `ValueError` where one repeats."""
    if len(set(values)) < len(values):
        raise ValueError(f"repeats a value: {values}")
    return values
