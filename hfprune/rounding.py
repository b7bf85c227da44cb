"""Numbers as text, rounded to their doubt."""

import math
import re

FIGURES = 2  # of an error, or of half an interval, as is usual in physics
MORE = 2  # decimals beyond the format's, for an end of an interval that would else seem to touch no effect
DIGITS = 9  # after the point of a value or its logarithm, as far as readers are told that values differ
_PERCENT = re.compile(r"(?<=\d)%")  # as `str.format` writes it, without the space that the SI asks for
_DECIMALS = re.compile(r"\.(\d+)([f%])")


def rounded(form: str, number: float, doubt: float | None) -> str:
    """Return a number as text, down to the decimal at which its doubt has two figures.

    Args:
        form: as `str.format` takes it. It rounds no finer; a form without decimals stays as it is.
        number: a value or its error.
        doubt: the error; none, or zero, where it is not known.
    """
    return _formatted(form, number, _place(form, doubt))


def rounded_interval(
    form: str, value: float, low: float, high: float, *, neutral: float = math.nan, ratio: bool = False
) -> list[str]:
    """Return a value and the ends of its interval as text, where half of the interval has two figures.

    All have the same decimals, more of them where an end would reach `neutral`, the value of no effect or the
    threshold of a claim, or cross it. Those of a `ratio` have their own: its interval is one of the logarithm.
    """
    numbers = [value, low, high]
    if not (math.isfinite(low) and math.isfinite(high)):
        return [_formatted(form, number, _finest(form)) for number in numbers]
    doubts = [(high - low) / 2] * 3
    if ratio and low > 0:
        doubts = [abs(number) * math.log(high / low) / 2 for number in numbers]
    places = [_place(form, doubt) for doubt in doubts]
    for i, end in ((1, low), (2, high)):
        while places[i] < _finest(form) + MORE and _crosses(end, places[i], neutral):
            places[i] += 1
    if not ratio:
        places = [max(places)] * 3
    return [_formatted(form, number, place) for number, place in zip(numbers, places, strict=True)]


def percent(share: float | None) -> str:
    """Return a share as readers see it: `20 %`; "" where it is missing."""
    return "" if share is None or math.isnan(share) else f"{100 * share:.3g} %"


def spelt_ratio(ratio: float | None) -> str:
    """Return a ratio as names of files and cells have it, to six digits without trailing zeros; "" for none."""
    return "" if ratio is None else f"{ratio:g}"


def rounded_ratio(ratio: float) -> float:
    """Return a ratio as `spelt_ratio` spells it, so that one and the same ratio is one number everywhere."""
    return float(spelt_ratio(ratio))


def written(
    form: str, value: float, low: float, high: float, *, neutral: float = math.nan, ratio: bool = False
) -> tuple[str, str]:
    """Return a number and its interval, as `0.1 to 0.3`, for readers; each is "" where it is not known.

    What is exact, with ends that are the value, has no interval. The rest is as in `rounded_interval`.
    """
    if math.isnan(value):
        return "", ""
    known = high - low > 10**-DIGITS  # what is less is rounding
    ends = (low, high) if known else (math.nan, math.nan)
    shown = rounded_interval(form, value, *ends, neutral=neutral, ratio=ratio)
    text, *others = (_PERCENT.sub(" %", each.replace("-", "−")) for each in shown)
    return text, " to ".join(others) if known else ""


def _crosses(end: float, place: int, neutral: float) -> bool:
    """Tell whether an end is not on the side of `neutral` any more if it is rounded to this decimal."""
    return end != neutral and (end - neutral) * (round(end, place) - neutral) <= 0


def _finest(form: str) -> int:
    """Return the decimal to which a form rounds, or a thousand if it is not one of decimals."""
    decimals = _DECIMALS.search(form)
    return int(decimals[1]) + 2 * (decimals[2] == "%") if decimals else 1000


def _place(form: str, doubt: float | None) -> int:
    """Return the decimal to round to; negative ones are tens and hundreds."""
    if not doubt or not math.isfinite(doubt):
        return _finest(form)
    # A power of ten that floating point has missed is one.
    return min(_finest(form), FIGURES - 1 - math.floor(math.log10(abs(doubt)) + 1e-12))


def _formatted(form: str, number: float, place: int) -> str:
    decimals = _DECIMALS.search(form)
    if not decimals or not math.isfinite(number):
        return form.format(number)
    shown = max(place - 2 * (decimals[2] == "%"), 0)
    # Plus zero: there is no negative one.
    return _DECIMALS.sub(f".{shown}{decimals[2]}", form).format(round(number, place) + 0.0)
