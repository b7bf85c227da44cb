"""Numbers as text, rounded to their uncertainty."""

import math
import re

FIGURES = 2  # of an error, or of half an interval, as is usual in physics
MORE = 2  # decimals beyond the format's, for an end of an interval that would seem to touch `neutral`
DIGITS = 9  # decimals of a value or its logarithm that count; smaller differences are rounding errors
_PERCENT = re.compile(r"(?<=\d)%")  # as `str.format` writes it, without the space that the SI asks for
_DECIMALS = re.compile(r"\.(\d+)([f%])")


def rounded(form: str, number: float, doubt: float | None) -> str:
    """Return a number as text, rounded to the decimal at which its uncertainty has two figures.

    Args:
        form: a format for `str.format`; its decimals are the most that are shown. One without decimals is kept.
        number: a value or its error.
        doubt: the uncertainty; None or zero if unknown.
    """
    return _formatted(form, number, _place(form, doubt))


def rounded_interval(
    form: str, value: float, low: float, high: float, *, neutral: float = math.nan, ratio: bool = False
) -> list[str]:
    """Return a value and the ends of its interval as text, so that half of the interval has two figures.

    All have the same number of decimals, and more if rounding would move an end to or across `neutral`, the value
    of no effect or the threshold of a claim. For a `ratio`, whose interval is one of its logarithm, each number
    has its own decimals.
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
    """Return a share as readers see it, such as `20 %`; "" if it is missing."""
    return "" if share is None or math.isnan(share) else f"{100 * share:.3g} %"


def spelt_ratio(ratio: float | None) -> str:
    """Return a ratio as file and cell names spell it: six digits without trailing zeros; "" for None."""
    return "" if ratio is None else f"{ratio:g}"


def rounded_ratio(ratio: float) -> float:
    """Return a ratio rounded as in `spelt_ratio`, so that equal ratios are equal numbers everywhere."""
    return float(spelt_ratio(ratio))


def written(
    form: str, value: float, low: float, high: float, *, neutral: float = math.nan, ratio: bool = False
) -> tuple[str, str]:
    """Return a number and its interval, such as `0.1 to 0.3`, for readers; each is "" if it is unknown.

    An exact number, whose ends equal it, has no interval. For the rest see `rounded_interval`.
    """
    if math.isnan(value):
        return "", ""
    uncertain = high - low > 10**-DIGITS  # smaller differences come from rounding
    ends = (low, high) if uncertain else (math.nan, math.nan)
    shown = rounded_interval(form, value, *ends, neutral=neutral, ratio=ratio)
    text, *others = (_PERCENT.sub(" %", number.replace("-", "−")) for number in shown)
    return text, " to ".join(others) if uncertain else ""


def _crosses(end: float, place: int, neutral: float) -> bool:
    """Tell whether rounding an end to this decimal moves it to or across `neutral`."""
    return end != neutral and (end - neutral) * (round(end, place) - neutral) <= 0


def _finest(form: str) -> int:
    """Return the decimal to which a format rounds, or a thousand if it has no decimals."""
    decimals = _DECIMALS.search(form)
    return int(decimals[1]) + 2 * (decimals[2] == "%") if decimals else 1000


def _place(form: str, doubt: float | None) -> int:
    """Return the decimal to round to; negative ones are tens and hundreds."""
    if not doubt or not math.isfinite(doubt):
        return _finest(form)
    # The small addend corrects powers of ten whose logarithm floating point rounds down.
    return min(_finest(form), FIGURES - 1 - math.floor(math.log10(abs(doubt)) + 1e-12))


def _formatted(form: str, number: float, place: int) -> str:
    decimals = _DECIMALS.search(form)
    if not decimals or not math.isfinite(number):
        return form.format(number)
    shown = max(place - 2 * (decimals[2] == "%"), 0)
    # Adding zero turns -0.0 into 0.0.
    return _DECIMALS.sub(f".{shown}{decimals[2]}", form).format(round(number, place) + 0.0)
