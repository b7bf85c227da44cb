"""How much to remove, as it is written on the command line: shares, sizes, counts and speed-ups."""

import re
from math import inf, isnan
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize

from hfprune.errors import nearest

SPEEDS = ("prefill", "decoding")
# A number, and a unit of bytes or of thousands.
_AMOUNT = re.compile(r"(\d*\.?\d+) *([a-zA-Z]*)")
_BYTES = re.compile(r"([kmgt]i?)?b?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[kmbgt]?", re.IGNORECASE)


def _number(word: str) -> float:
    """Return the number that a word spells, also as a percentage, or NaN."""
    try:
        return float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        return float("nan")


def _share(given: Any) -> float | None:
    """Return the share that a ratio removes, as 20% or 0.2, or None for auto."""
    if given in (None, "auto"):
        return None
    share = _number(word := str(given))
    if isnan(share):
        raise ValueError(f"must be a share above 0 and below 1, as 20% or 0.2, not {word!r}")
    return share


def _loss(given: Any) -> float:
    """Return the share that a limit of loss allows, as 20% or 0.2."""
    share = _number(word := str(given))
    if isnan(share):
        raise ValueError(f"must be a share such as 20% or 0.2, not {word!r}")
    if not share > 0:
        raise ValueError(f"must be above 0, as 20% or 0.2, not {word!r}")
    if share > 1:
        raise ValueError(
            f"{word} means {100 * share:,.0f} %, more than the 100 % allowed; 20 % is 20% or 0.2"
        )
    return share


def _speedup(given: Any) -> dict[str, float]:
    """Return how many times as fast prefill and decoding must be, both by one number or by name."""
    named = isinstance(given, dict) or "=" in str(given)
    goals = pairs(given) if named else dict.fromkeys(SPEEDS, given)
    for name in goals:
        if name not in SPEEDS:
            raise ValueError(f"must be of prefill or decoding, not of {name!r}{nearest(name, SPEEDS)}")
    goals = {name: _number(str(times)) for name, times in goals.items()}
    if not goals or not all(1 < times < inf for times in goals.values()):
        raise ValueError(f"must be a number above 1, such as 1.2 or decoding=1.2, not {given!r}")
    return goals


def pairs(given: Any) -> dict[str, Any]:
    """Return what words such as `c4=2,code=1` give by name, or a dictionary as it is.

    Raises:
        ValueError: a name is there twice.
    """
    if isinstance(given, dict):
        return given
    found: dict[str, Any] = {}
    for name, _, amount in (word.partition("=") for word in str(given).split(",")):
        if name.strip() in found:
            raise ValueError(f"{name.strip()} is there twice")
        if name.strip():
            found[name.strip()] = amount.strip()
    return found


def _amount(given: Any, units: re.Pattern[str], example: str) -> Any:
    """Return an amount that pydantic can read as bytes, or raise `ValueError` with an example of a valid one."""
    amount = _AMOUNT.fullmatch(word := str(given))
    if not amount or not re.search("[1-9]", amount[1]) or not units.fullmatch(amount[2]):
        raise ValueError(f"must be a number above 0, such as {example}, not {word!r}")
    return given


def _count(given: Any) -> Any:
    """As `_amount`, of parameters: B is a billion, which pydantic calls G."""
    return re.sub("[bB]$", "G", str(_amount(given, _THOUSANDS, "110M (K, M, B or T) or 110000000")))


def _size(given: Any) -> Any:
    return _amount(given, _BYTES, "450MB (kB, MB, GB, or MiB of 1024 kiB) or 450000000")


Share = BeforeValidator(_share)
Loss = Annotated[float, BeforeValidator(_loss)]
Speedup = Annotated[dict[str, float], BeforeValidator(_speedup)]
Size = Annotated[ByteSize, BeforeValidator(_size)]
Count = Annotated[ByteSize, BeforeValidator(_count)]
