"""Exceptions whose messages are meant for the user, and context managers that turn others into them."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Placeholders for the class of an error and for its message; no path and no name contains them.
KIND, REASON = "\0kind", "\0reason"
# Packages that only some commands import, and the extra that installs each.
EXTRAS = {
    "lm_eval": "tasks",
    "peft": "recovery",
    **dict.fromkeys(("matplotlib", "seaborn"), "study"),
}


class HfpruneError(Exception):
    """States the problem, its place and the remedy in one line; the CLI prints it without a traceback."""


@contextmanager
def explained(text: str, *kinds: type[BaseException], most: int | None = None) -> Iterator[None]:
    """Turn an error of these kinds into an `HfpruneError` with the message `text`.

    Args:
        text: `KIND` in it becomes the name of the error's class, and `REASON` its message in one line.
        kinds: classes of errors.
        most: characters of the reason at most; the messages of some libraries are long.
    """
    try:
        yield
    except kinds as error:
        reason = brief(error)[:most]
        raise HfpruneError(text.replace(KIND, type(error).__name__).replace(REASON, reason)) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the `OSError` of a file that cannot be read into an `HfpruneError` with the reason."""
    try:
        yield
    except OSError as error:
        raise HfpruneError(f"{path}: cannot read it: {error.strerror}") from error


def brief(error: BaseException) -> str:
    """Return the gist of an error in one line; pydantic's own message takes several."""
    from pydantic import ValidationError  # here, since `hfprune --help` must start fast

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())


def missing(error: ModuleNotFoundError) -> str:
    """Return the line about a module that is not installed.

    Raises:
        ModuleNotFoundError: `error` again, if no extra installs the module.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    return f"this needs the package {package}: pip install 'hfprune[{EXTRAS[package]}]'"


def nearest(word: str, choices: Collection[str], otherwise: str | None = None) -> str:
    """Return `"; did you mean 'x'?"` or, with no near match, `otherwise`: by default the list of choices."""
    if match := difflib.get_close_matches(word, choices, n=1):
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(choices) or 'none'}" if otherwise is None else otherwise


def require_known(key: str, names: Iterable[str], valid: Iterable[str]) -> None:
    """Raise `ValueError` with the key, the name and the nearest valid one if a name is not valid."""
    choices = [*valid]
    for name in names:
        if name not in choices:
            raise ValueError(f"{key}: unknown {name!r}{nearest(name, choices)}")


def distinct(values: list) -> list:
    """Return `values`, or raise `ValueError` where one repeats."""
    if len(set(values)) < len(values):
        raise ValueError(f"repeats a value: {values}")
    return values
