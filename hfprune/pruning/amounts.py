"""How users write how much to remove: shares, losses, numbers of parameters, and bytes."""

import re
from math import isnan, nan
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize

Auto = BeforeValidator(lambda ratio: None if ratio in (None, "auto") else _share(ratio))
# A number, and a unit of bytes or of thousands.
_AMOUNT = re.compile(r"(\d*\.?\d+) *([a-zA-Z]*)")
_BYTES = re.compile(r"([kmgt]i?)?b?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[kmbgt]?", re.IGNORECASE)


def _share(given: Any) -> float:
    """Return a share that is written as 20% or 0.2."""
    word = str(given)
    try:
        share = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        share = nan
    if isnan(share):
        raise ValueError(f"must be a share such as 20% or 0.2, not {word!r}")
    return share


def loss(given: Any) -> float:
    """Return the share that a limit of loss allows."""
    share = _share(given)
    if not share > 0:
        raise ValueError(f"must be above 0, as 20% or 0.2, not {str(given)!r}")
    if share > 1:
        raise ValueError(
            f"{given} means {100 * share:,.0f} %, more than the 100 % allowed; 20 % is 20% or 0.2"
        )
    return share


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


Size = Annotated[ByteSize, BeforeValidator(_size)]
Count = Annotated[ByteSize, BeforeValidator(_count)]
