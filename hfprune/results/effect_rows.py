"""The rows of the table of effects, and how they are corrected, written and read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.results.effect import Effect
from hfprune.results.files import read_csv, readable, require_columns
from hfprune.statistics.estimates import Estimate, holm
from hfprune.study import paths

BOTH, ITEMS_ALONE = "draws and items", "items"
# Numbers that are zero except for rounding differ between machines.
ROUNDING = 1e-12


class EffectRow(NamedTuple):
    """A row of `effects.csv`: one outcome of the side (method, recovery) less, or over, that of `against`.

    Both sides are of one `calibration`, of which their scores read so many `sequences` (0: all sizes together);
    the other side is of `against_calibration` where that is not empty.
    `question` is one of `hfprune.effects.questions`, and `claim` the id of the row's claim, if any.
    `outcome` names what was compared: `metric` of `measure`, on one `task` or text, or after one step of a
    training; where `task` is empty, on average over all `tasks`. `base` is the other side's own outcome. `base`,
    `value`, `low` and `high` are in `unit`; `neutral` is the value of no effect: 0 for a difference, 1 for a
    ratio. `better` is the better direction of the outcome. `p` is the two-sided p-value of no effect, and
    `holm` the same by Holm's method for all rows of the same `family`. `n` counts items, `draws` the samples, and
    `resamples` the resampled calibrations that give the spread over draws. `covers` says what the interval
    covers: `draws and items`; or `items` alone, for this one plan, which has a p-value only from a test of its
    own; or nothing.
    `detectable` is the smallest distance from no effect that such a study shows in 80 % of repetitions.
    `form` is the format of the numbers for `str.format`, and `label` the name of the outcome for readers.
    `differs` names the settings in which the method differs from its reference. In a row on training, `n` counts
    sequences; in one on a correlation, `n` counts plans, and the interval is over plans and items.
    """

    question: str
    model: str
    calibration: str
    sequences: int
    ratio: float | None
    method: str
    recovery: str
    against: str
    against_recovery: str
    outcome: str
    measure: str
    metric: str
    task: str = ""
    claim: str = ""
    against_calibration: str = ""
    tasks: int = 1
    base: float = np.nan
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    holm: float = np.nan
    family: str = ""
    draws: int = 0
    resamples: int = 0
    n: int = 0
    covers: str = ""
    detectable: float = np.nan
    neutral: float = 0.0
    better: str = ""
    unit: str = ""
    form: str = "{:+.3f}"
    label: str = ""
    differs: str = ""

    @property
    def effect(self) -> Effect:
        """The effect, which tells which side is better and how to write it."""
        return Effect.of_row(self._asdict())

    @property
    def own(self) -> float:
        """The method's own outcome, in the unit of `base`; a distance to the other side has no base."""
        if self.neutral:
            return self.base * self.value
        return self.value if np.isnan(self.base) else self.base + self.value

    def words(self) -> list[str]:
        """Return the label, the other side's outcome, the own one, n, and the change (a ratio's as a share)."""
        form = self.form.replace("+", "")
        base = "" if np.isnan(self.base) else form.format(self.base)
        n = str(self.n) if self.n else ""
        return [self.label, base, form.format(self.own), n, str(self.effect.change)]


# The numbers of a claim that are in the row of its effect.
OF_CLAIM = ["value", "low", "high", "n", "draws", "resamples", "detectable"]
# The columns with texts.
TEXTS = [name for name, kind in EffectRow.__annotations__.items() if kind in (str, "str")]


def read_effects(path: Path) -> pd.DataFrame:
    """Read a table of effects, with "" for a missing text.

    Raises:
        HfpruneError: it is not there, cannot be read, or lacks a column.
    """
    numbers = {name: [""] for name in EffectRow._fields if name not in TEXTS}
    with readable(path, OSError, ValueError):
        rows = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, "str"), keep_default_na=False, na_values=numbers)
    require_columns(rows, path, EffectRow._fields)
    return rows


def read_claims(folder: Path) -> pd.DataFrame:
    """Read the verdicts in a folder, each with the numbers of its effect (`OF_CLAIM`).

    Raises:
        HfpruneError: a file is not there, cannot be read, or lacks a column.
    """
    verdicts = read_csv(folder / paths.CLAIMS, "claim", "calibration", "verdict")
    effects = read_effects(folder / paths.EFFECTS)
    about = effects[effects["claim"] != ""].drop(columns="metric").rename(columns={"outcome": "metric"})
    key = ["claim", "model", "calibration", "sequences", "ratio", "metric"]
    rows = verdicts.merge(about.astype({"ratio": float})[[*key, *OF_CLAIM]], "left", on=key)
    counts = ["n", "draws", "resamples"]
    return rows.fillna(dict.fromkeys(counts, 0)).astype(dict.fromkeys(counts, int))


def table(rows: Sequence[EffectRow]) -> pd.DataFrame:
    """Return rows as a table, in their order, with p-values corrected within their families."""
    effects = pd.DataFrame(corrected(rows), columns=EffectRow._fields).astype({"holm": float})
    numbers = effects[["value", "low", "high"]]
    effects[numbers.columns] = numbers.where((numbers.abs() > ROUNDING) | numbers.isna(), 0.0)
    return effects


def corrected(rows: Sequence[EffectRow]) -> list[EffectRow]:
    """Return rows with p-values corrected by Holm's method within each family."""
    p_values = pd.Series([row.p for row in rows], dtype=float)
    families = pd.Series([row.family or None for row in rows], dtype=object)
    adjusted = p_values.groupby(families, sort=False).transform(holm).reindex(p_values.index)
    return [row._replace(holm=p_value) for row, p_value in zip(rows, adjusted, strict=True)]


def row_of(
    effect: Estimate,
    shown: Callable[[float], float],
    *,
    left: tuple[str, str],
    right: tuple[str, str],
    covers: str,
    **fields: Any,
) -> EffectRow:
    """Return the row of an estimate, with a p-value where its interval covers draws and items.

    Args:
        effect: the estimate, in the units of the outcomes.
        shown: converts its numbers to the units shown.
        left: the method with its recovery.
        right: the other side.
        covers: what the interval covers.
        fields: all other fields; they take precedence over those of the estimate.
    """
    numbers: dict[str, Any] = {
        "value": shown(effect.value),
        "low": shown(effect.low),
        "high": shown(effect.high),
        "draws": effect.draws,
        "resamples": effect.resamples,
        "n": effect.n,
        "detectable": shown(effect.minimum()),
        "p": effect.p_value() if covers == BOTH else np.nan,
    }
    (method, recovery), (against, against_recovery) = left, right
    return EffectRow(
        method=method,
        recovery=recovery,
        against=against,
        against_recovery=against_recovery,
        covers=covers,
        **numbers | fields,
    )
