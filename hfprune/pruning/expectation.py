"""What to expect: how models of the catalogue did, pruned by the default recipe; and what their sizes are of."""

from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import yaml

from hfprune.files import read_json
from hfprune.pruning.config import Pruning
from hfprune.rounding import percent
from hfprune.settings.allocation import Allocation


class Measured(TypedDict):
    """What the study `recipe` found on a model: numbers have the ends of their 95 % interval beside them."""

    parameters: int
    ratio: float
    perplexity: dict[str, list[float]]
    """By text, the rise relative to the dense model's perplexity."""
    capability: dict[str, list[float]]
    """By the capability that lost most, the bits per byte of right answers that pruning added."""


@cache
def measured_losses() -> dict[str, Measured]:
    """Return what was measured, by model."""
    losses: dict[str, Measured] = _file()["models"]
    return losses


@cache
def _file() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return content


def expected(asked: Pruning, parameters: int) -> str:
    """Return what to expect of a model of the catalogue that the study has measured, or "" of any other.

    Args:
        asked: the call, with a ratio or a limit of the loss.
        parameters: of the dense model; another model of the same name has another number.
    """
    name = Path(asked.model).name
    measured = measured_losses().get(name)
    limited = asked.ratio or asked.max_loss
    if not limited or not measured or measured["parameters"] != parameters or not _by_default(asked):
        return ""
    rises = " and ".join(f"by {_percent(rise)} on {text}" for text, rise in measured["perplexity"].items())
    ((capability, added),) = measured["capability"].items()
    bits = "{:+.2f} ({:+.2f} to {:+.2f})".format(*added)
    text, studied = asked.text or "a mix of yours", _file()["calibrated_on"]
    other = "" if text == studied else ", which the study did not measure: the losses may be far from these"
    return (
        f"what to expect of {name}: in the study recipe, removing {percent(measured['ratio'])} of the parameters "
        f"by the default recipe in bfloat16, calibrated on {studied}, raised perplexity {rises}; of all "
        f"capabilities, {capability} lost most, {bits} bits per byte of right answers. This call calibrates on "
        f"{text}{other}"
    )


def _percent(rise: list[float]) -> str:
    value, low, high = (100 * end for end in rise)
    return f"{value:.0f} % ({low:.0f} to {high:.0f})"


def _by_default(asked: Pruning) -> bool:
    """Tell whether a call prunes as the study did: by the default recipe."""
    named = {"recipe", "criterion", "options", "units", "allocation", "linear", "plain", "align"}
    return not asked.model_dump(include=named, exclude_defaults=True)


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
        "Sizes in bytes are not those of the GGUF file from which the model comes: the dense model's are of "
        f"float32, into which it was converted, the pruned one's of {dtype}. A file of four bits is smaller than "
        "both, until the pruned model is quantised again."
    ]
