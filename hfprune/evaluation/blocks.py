"""Measurements on blocks of text, of which several may come from one document."""

from collections.abc import Sequence

import pandas as pd


def block_items(documents: Sequence[int], metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per block: `item`, the `document` in which it starts, and its metrics."""
    return pd.DataFrame({"item": range(len(metrics)), "document": documents}).join(metrics)


def mean_stderr(values: pd.Series, documents: pd.Series) -> float | None:
    """Return the standard error of the mean over blocks, those of one document not being independent.

    The cluster-robust one with G/(G-1) for G documents (Cameron and Miller, 2015, Eq. 11), which is s/√n where
    every block has a document of its own; `None` for a single document.
    """
    sums = (values - values.mean()).groupby(documents).sum()
    if len(sums) < 2:
        return None
    return float(((sums**2).sum() * len(sums) / (len(sums) - 1)) ** 0.5 / len(values))
