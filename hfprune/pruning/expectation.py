"""What a model may lose by its size: how models of the catalogue did, pruned by the default recipe."""

from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from hfprune.pruning.config import Pruning
from hfprune.rounding import percent

# A model beyond this many times the largest that was measured is not compared with it.
COMPARABLE = 2


@cache
def known_losses() -> dict[str, Any]:
    """Return, by model, its `parameters` and by ratio the rise of perplexity with its 95 % interval."""
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())["models"]


def expected(asked: Pruning, parameters: int) -> str:
    """Return what to expect of a model with so many parameters, or "" where no such model was measured."""
    known = known_losses()
    if parameters > COMPARABLE * max(one["parameters"] for one in known.values()):
        return ""
    models = {f"{name} ({one['parameters'] / 1e6:,.0f}M)": one["loss"] for name, one in known.items()}
    said = _at(asked.ratio, models) if asked.ratio else _within(asked.max_loss or 0, models)
    return (
        f"what to expect: a model of {parameters / 1e6:,.0f} million parameters has few to spare. With the "
        f"default recipe, and on the calibration's kind of text, {said}."
    )


def _at(ratio: float, models: dict[str, Any]) -> str:
    near = min(next(iter(models.values())), key=lambda tried: abs(tried - ratio))
    told = [f"{percent(round(loss[near][0], 2))} with {name}" for name, loss in models.items()]
    return f"removing {percent(near)} of the parameters raised the perplexity by {' and '.join(told)}"


def _within(most: float, models: dict[str, Any]) -> str:
    """Return how much may be removed by the rule of `hfprune.pruning.sweep.choice`."""
    told = []
    for name, loss in models.items():
        small = [*takewhile(lambda ratio: loss[ratio][2] < most, loss)]  # noqa: B023
        told.append(f"{percent(small[-1]) if small else f'less than {percent(min(loss))}'} of {name}")
    return f"a rise of the perplexity within {percent(most)} allowed to remove {' and '.join(told)}"
