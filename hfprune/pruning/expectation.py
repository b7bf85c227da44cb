"""What to expect: how models of the catalogue did, pruned by the default recipe; and what their sizes are of."""

from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TypedDict

import yaml

from hfprune.files import read_json
from hfprune.pruning.config import Pruning
from hfprune.rounding import percent
from hfprune.settings.allocation import Allocation


class Known(TypedDict):
    """What was measured of a model."""

    parameters: int
    loss: dict[float, list[float]]
    """By ratio the rise of perplexity, with the ends of its 95 % interval."""


@cache
def known_losses() -> dict[str, Known]:
    """Return what was measured, by model."""
    known: dict[str, Known] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())["models"]
    return known


def expected(asked: Pruning, parameters: int) -> str:
    """Return what to expect of a model of the catalogue that the study has measured, or "" of any other.

    Args:
        asked: the call, with a ratio or a limit of the loss.
        parameters: of the dense model; another model of the same name has another number.
    """
    name = Path(asked.model).name
    known = known_losses().get(name)
    limited = asked.ratio or asked.max_loss
    if not limited or not known or known["parameters"] != parameters or not _by_default(asked):
        return ""
    loss = known["loss"]
    said = _at(asked.ratio, loss) if asked.ratio else _within(asked.max_loss or 0, loss)
    text = asked.text or "a mix of yours"
    return (
        f"what to expect of {name}: in the study recipe-confirm, by the default recipe, calibrated on Wikipedia "
        f"and read on other pages of it in bfloat16, {said}; this call calibrates on {text}, which gives other "
        "numbers"
    )


def _by_default(asked: Pruning) -> bool:
    """Tell whether a call prunes as the study did: by the default recipe."""
    named = {"recipe", "criterion", "options", "units", "allocation", "linear", "plain", "align"}
    return not asked.model_dump(include=named, exclude_defaults=True)


def _at(ratio: float, loss: dict[float, list[float]]) -> str:
    near = min(loss, key=lambda tried: abs(tried - ratio))
    value, low, high = (100 * end for end in loss[near])
    rise = f"{value:.0f} % ({low:.0f} to {high:.0f})"
    return f"removing {percent(near)} of the parameters raised perplexity by {rise}"


def _within(most: float, loss: dict[float, list[float]]) -> str:
    """Return how much may be removed by the rule of `hfprune.pruning.sweep.choice`."""
    small = [*takewhile(lambda ratio: loss[ratio][2] < most, loss)]
    removed = percent(small[-1]) if small else f"less than {percent(min(loss))}"
    return f"{removed} of the parameters could be removed for a rise of perplexity within {percent(most)}"


def loaded_by(plain: bool, allocation: Allocation) -> str:
    """Return what will load a model that is pruned by this allocation, and padded if `plain`."""
    if plain or allocation == Allocation():
        return "what will load the result: `from_pretrained`, and the engines of docs/exports.md"
    return (
        "what will load the result: `hfprune.load`, the code in its card and, for some families, vLLM beside this "
        "package and llama.cpp by `hfprune export --gguf`; with --plain, `from_pretrained` and every engine "
        "(docs/exports.md)"
    )


def of_which_precision(asked: Pruning, model: Path) -> list[str]:
    """Return the sentence on the sizes of a model from a GGUF file, if the folder `model` was made of one."""
    about = model / "asset.json"
    entry = read_json(about).get("entry", {}) if about.is_file() else {}
    if entry.get("format") != "gguf":
        return []
    dtype = "float32" if asked.dtype == "auto" else asked.dtype
    return [
        f"Sizes in bytes are of {dtype}, dense and pruned alike: the model comes from a GGUF file, whose weights "
        "take fewer bits, about four where it is called Q4, so that the pruned model is larger than that file "
        "until it is quantised again."
    ]
