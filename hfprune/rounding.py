"""Numbers as text, rounded to their doubt."""

import math
import re

FIGURES = 2  # of an error, or of half an interval, as is usual in physics
NEUTRAL = (0, 1)  # of differences, and of ratios
_DECIMALS = re.compile(r"\.(\d+)([f%])")


def rounded(form: str, number: float, doubt: float | None) -> str:
    """Return a number as text, down to the decimal at which its doubt has two figures.

    Finer where it would become 0 or 1 without being so, lest an interval seem to touch them.

    Args:
        form: as `str.format` takes it. It rounds no finer; a form without decimals stays as it is.
        number: a value, an error, or an end of an interval.
        doubt: the error, or half of the interval; none, or zero, where it is not known.
    """
    decimals = _DECIMALS.search(form)
    if decimals and doubt and math.isfinite(doubt) and math.isfinite(number):
        hundredths = 2 * (decimals[2] == "%")
        finest = int(decimals[1]) + hundredths
        place = min(finest, FIGURES - 1 - math.floor(math.log10(abs(doubt))))
        while place < finest and round(number, place) in NEUTRAL and number not in NEUTRAL:
            place += 1
        form = _DECIMALS.sub(f".{max(place - hundredths, 0)}{decimals[2]}", form)
        number = round(number, place)
    return form.format(number)
