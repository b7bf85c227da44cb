"""The parser of a command line, by the public interface of argparse; imports nothing heavy."""

import argparse
import re
import shutil
import textwrap
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from hfprune.errors import nearest

# Longer lines are hard to read.
WIDEST = 110
# Negative numbers that argparse recognises, and values such as `-5%` that it would take for flags.
_NUMBER, _NEGATIVE = re.compile(r"-\d+|-\d*\.\d+"), re.compile(r"-\.?\d")


def width() -> int:
    """Return the width of a line in characters: the terminal's, at most `WIDEST`."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def wrapped(text: str, indent: str, first: str | None = None) -> str:
    """Return an indented text in lines of the terminal's width; `first` begins the first line."""
    start = indent if first is None else first
    return textwrap.fill(
        text, width(), initial_indent=start, subsequent_indent=indent, break_on_hyphens=False
    )


class Parser(argparse.ArgumentParser):
    """A parser that names an unknown flag before a missing one, and reads `-5%` as a value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.flags = ["-h", "--help"]
        """Spellings of all flags."""

    def note(self, action: argparse.Action) -> None:
        """Record the flags of an argument that was added to this parser or to one of its groups."""
        self.flags += action.option_strings

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the arguments in these words; an unknown flag ends the program with the nearest one."""
        for word in (word.partition("=")[0] for word in takewhile("--".__ne__, words)):
            if word.startswith("--") and not any(flag.startswith(word) for flag in self.flags):
                self.error(f"unknown flag {word}{nearest(word, self.flags, '')}")
        joined: list[str] = []
        for word in words:
            after_flag = bool(joined) and joined[-1] in self.flags
            if after_flag and _NEGATIVE.match(word) and not _NUMBER.fullmatch(word):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return self.parse_args(joined)
