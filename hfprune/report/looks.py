"""The looks of a study's methods, and the names of models for readers."""

from functools import cache
from pathlib import Path

import pandas as pd

from hfprune.assets.catalogue import Catalogue
from hfprune.assets.shipped import shipped
from hfprune.report.style import Look, looks
from hfprune.results.reader import Results
from hfprune.settings import load


@cache
def looks_of(data: Results) -> dict[str, Look]:
    """Return the look of every method in a study's results, its kept neurons or the published scores."""
    tables = (
        data.whole["method"],
        data.neurons["method"],
        data.neurons["reference"],
        data.published["method"],
    )
    return looks({method for column in tables for method in column}, data.labels)


def with_model_labels(values: pd.DataFrame) -> pd.DataFrame:
    """Return values with the catalogue's name for readers in place of each model's."""
    return values.replace({"model": _model_labels()}) if "model" in values else values


@cache
def _model_labels() -> dict[str, str]:
    models = load(Catalogue, shipped(Path("config/assets.yaml"))).models
    return {name: model.label for name, model in models.items() if model.label}
