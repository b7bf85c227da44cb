"""An effect: one outcome of one side less (or over) that of another, and the one way in which it is written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from hfprune.rounding import DIGITS, written
from hfprune.statistics.estimates import ALPHA

# Places of one side beside the other, by the interval of their difference.
STANDINGS = BETTER, ALIKE, WORSE = "better", "no significant difference", "worse"
# The directions of better outcomes.
DIRECTIONS = {"higher": 1, "lower": -1}
PERCENT_FORM = "{:+.1%}"


@dataclass(frozen=True)
class Effect:
    """A difference or a ratio of two sides' outcomes, with its 95 % interval; unknown numbers are NaN."""

    value: float
    low: float = math.nan
    high: float = math.nan
    form: str = "{:+.3f}"
    """Format of the numbers, for `str.format`; it rounds no coarser than the interval requires."""
    neutral: float = 0.0
    """The value of no effect: 0 for a difference, 1 for a ratio; for a claim, its threshold."""
    ratio: bool = False
    """Whether one side was divided by the other, so that the interval is symmetric in the logarithm."""
    better: int = 0
    """1 if values above `neutral` are better, -1 if those below are, 0 if neither."""
    holm: float = math.nan
    """The p-value of no effect, corrected by Holm's method for its family; NaN where there is no family."""

    @classmethod
    def of_row(cls, row: Mapping[str, Any], **more: Any) -> Self:
        """Return the effect of a row of `effects.csv`."""
        numbers = {name: float(row[name]) for name in ("value", "low", "high", "holm", "neutral")}
        own: dict[str, Any] = numbers | {"form": str(row["form"]), "ratio": row["neutral"] == 1}
        own["better"] = DIRECTIONS.get(row["better"], 0)
        return cls(**own | more)

    @classmethod
    def of_claim(cls, row: Mapping[str, Any]) -> Self:
        """Return the effect of a row of `claims.csv`, whose `neutral` is the claim's threshold."""
        neutral, threshold = (float(row[name]) for name in ("neutral", "threshold"))
        limit = neutral if math.isnan(threshold) else threshold
        return cls.of_row({**row, "better": row["relation"]}, neutral=limit)

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def side(self) -> int | None:
        """-1 or 1 where the whole interval lies below or above no effect, else 0; None without an interval.

        An exact tie differs from no effect by rounding alone, which does not count.
        """
        if not self.has_interval:
            return None
        low, high = (round(end - self.neutral, DIGITS) for end in (self.low, self.high))
        return int(low > 0) - int(high < 0)

    @property
    def sure(self) -> bool:
        """Whether the effect is significant after Holm's correction for its family."""
        return self.holm < ALPHA

    @property
    def standing(self) -> str:
        """The place of the first side beside the second, one of `STANDINGS`; "" where that is unknown.

        Where the effect has a family, one side is better only if that holds after Holm's correction.
        """
        if self.side is None or not self.better:
            return ""
        shown = self.side * self.better if self.sure or math.isnan(self.holm) else 0
        return {1: BETTER, 0: ALIKE, -1: WORSE}[shown]

    def turned(self) -> Self:
        """Return the effect with the two sides in the other order."""
        if self.ratio:
            value, low, high = 1 / self.value, 1 / self.high, 1 / self.low
        else:
            value, low, high = -self.value, -self.high, -self.low
        return replace(self, value=value, low=low, high=high)

    @property
    def change(self) -> Self:
        """A ratio as the share by which one side exceeds the other (0.5: half as much again), else the effect."""
        if not self.ratio:
            return self
        value, low, high, neutral = (end - 1 for end in (self.value, self.low, self.high, self.neutral))
        return replace(self, value=value, low=low, high=high, neutral=neutral, form=PERCENT_FORM, ratio=False)

    @property
    def texts(self) -> tuple[str, str]:
        """The number and its interval for readers, each "" where unknown."""
        numbers = self.value, self.low, self.high
        return written(self.form, *numbers, neutral=self.neutral, ratio=self.ratio)

    def __str__(self) -> str:
        """Return the number with its interval, and a star where it is significant after Holm's correction."""
        value, interval = self.texts
        text = f"{value} ({interval})" if interval else value
        return f"{text}*" if self.sure and self.side else text
