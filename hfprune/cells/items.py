"""Per-item outcomes, and the means and standard errors that follow from them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfprune.cells import Value

if TYPE_CHECKING:
    import pandas as pd


def block_items(documents: Sequence[int], metrics: "pd.DataFrame") -> "pd.DataFrame":
    """Return one row per block: `item`, `document` (where the block starts) and the block's metrics."""
    import pandas as pd

    return pd.DataFrame({"item": range(len(metrics)), "document": documents}).join(metrics)


def token_items(losses: Sequence[float], tokens: Sequence[int]) -> "pd.DataFrame":
    """Return one row per token: `item`, `document`, which is its sequence, and `loss`, the sequence's mean loss.

    The mean and the standard error over these rows are those of the loss per token, with sequences as clusters.

    Args:
        losses: the mean loss of each sequence, in nats per token.
        tokens: how many tokens of each sequence have a loss.
    """
    import numpy as np
    import pandas as pd

    sequence = np.repeat(np.arange(len(tokens)), tokens)
    return pd.DataFrame(
        {"item": range(len(sequence)), "document": sequence, "loss": np.asarray(losses)[sequence]}
    )


def by_item(items: "pd.DataFrame", column: str) -> "pd.Series":
    """Return a column of items, indexed by item and, if every item has one, by document."""
    index = [name for name in ("document", "item") if name in items and items[name].notna().all()]
    return items.set_index(index)[column]


def mean_value(metric: str, items: "pd.DataFrame", column: str | None = None) -> Value:
    """Return the mean of a column of items (by default named after the metric), with its standard error.

    Where items have a `document`, `n` counts documents, and the standard error treats each as one cluster.
    """
    values = items[column or metric]
    documents = items["document"] if "document" in items else items["item"]
    return Value(metric, float(values.mean()), mean_stderr(values, documents), int(documents.nunique()))


def mean_stderr(values: "pd.Series", documents: "pd.Series") -> float | None:
    """Return the cluster-robust standard error of the mean over items, with documents as clusters.

    It has the factor G/(G-1) for G documents (Cameron and Miller, 2015, Eq. 11), and equals s/√n if every item has
    its own document. None for a single document.
    """
    sums = (values - values.mean()).groupby(documents).sum()
    if len(sums) < 2:
        return None
    return float(((sums**2).sum() * len(sums) / (len(sums) - 1)) ** 0.5 / len(values))


def commonest(answers: "pd.Series") -> float:
    """Return the share of the commonest answer."""
    return float(answers.value_counts(normalize=True).max())


def one_right_of_several(items: "pd.DataFrame", outcome: str) -> "pd.Series":
    """Tell for each item of tasks whether one of several choices is right, so that its outcome is 0 or 1."""
    return items[outcome].isin([0, 1]) & (items["loglikelihood"].map(len) > 1)


def guess(items: "pd.DataFrame") -> "pd.Series":
    """Return for each item of tasks the chance that a guess among its choices is right, from 0 to 1."""
    return 1 / items["loglikelihood"].map(len, na_action="ignore")


def guess_or_majority(items: "pd.DataFrame", same_choices: Sequence[str]) -> "pd.Series":
    """Return for each item of zero-shot tasks what a guess gets right, from 0 to 1 (`guess`).

    In tasks whose questions have the same choices, the guess is the commonest right choice if that is right more
    often.
    """
    constant = guess(items)
    for task in same_choices:
        right = items.loc[items["task"] == task, "target"]
        if len(right) and commonest(right) > constant[right.index].mean():
            constant[right.index] = (right == right.mode()[0]).astype(float)
    return constant
