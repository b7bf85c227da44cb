"""The paper's published numbers with the names of the tidy table, to show beside measured ones."""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hfprune.paper.audit import ANOMALIES, read_anomalies
from hfprune.paper.claims import Paper
from hfprune.paper.tables import AVERAGE

CONFIDENT = "ok"  # `confidence` of a published number without known doubts
NOT_AVERAGED = {8: ("truthfulqa_mc2",)}  # tasks that a published table leaves out of its averages (A15)


class Published(NamedTuple):
    """The contents of `paper/`."""

    numbers: pd.DataFrame
    """Rows of `hfprune.paper.tables.read_tables`, percentages as percentages."""
    names: dict[str, str]
    """A study's name of a model → the paper's, in the paper's order."""
    anomalies: pd.DataFrame
    """Columns `id`, `table` and `claim`, among others."""

    def model(self, names: pd.Series) -> pd.Series:
        """Return the paper's name of each model, or the study's where the paper has none."""
        return names.map(self.names).fillna(names)

    def scores(self) -> pd.DataFrame:
        """Return the published scores of tasks, and averages over ten tasks, that have no known doubts.

        `model` is the study's name; each setting and task once.
        """
        rows = self.numbers[(self.numbers["task"] != "") & (self.numbers["confidence"] == CONFIDENT)]
        rows = rows[(rows["task"] != AVERAGE) | ~rows["table"].isin(NOT_AVERAGED)]
        study = {model: name for name, model in self.names.items()}
        rows = rows.assign(model=rows["model"].map(study)).dropna(subset="model")
        return rows.drop_duplicates(["model", "method", "ratio", "recovery", "task"], ignore_index=True)

    def about(self, table: int) -> dict[str, str]:
        """Return the known anomalies (id → claim) that concern a table."""
        concerned = [str(table) in re.findall(r"\d+", tables) for tables in self.anomalies["table"]]
        found = self.anomalies[concerned]
        return dict(zip(found["id"], found["claim"], strict=True))


def read_published(paper: Path) -> Published:
    """Read the published tables, the names of their models, and their known anomalies.

    Args:
        paper: folder with `tables/`, `claims.yaml` and `anomalies.csv`.

    Raises:
        HfpruneError: a file or a column is missing, or a value is not a number.
    """
    found = Paper.read(paper / "claims.yaml")
    return Published(found.numbers, found.models, read_anomalies(paper / ANOMALIES))
