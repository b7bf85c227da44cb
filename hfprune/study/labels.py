"""Names and colours of methods for readers."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from hfprune.cells import DENSE
from hfprune.criteria import CRITERIA
from hfprune.rounding import percent
from hfprune.settings.allocation import Allocation
from hfprune.settings.units import UnitShares
from hfprune.study.method import Method
from hfprune.study.study import Study

# Names of criteria and of the paper's methods; all other names are made from those in the study.
NAMES = {
    DENSE: "Dense",
    "cross_entropy": "Cross-entropy",
    "sdmprune": "SDMPrune",
    "wanda": "Wanda-sp",
    "flap": "FLAP's score",
    "taylor": "LLM-Pruner's score",
    "shortgpt": "ShortGPT",
    "sleb": "SLEB",
    "entropy_attention": "Entropy, attn+MLP",
    "llm_pruner": "LLM-Pruner",
    "loraprune": "LoRAPrune",
    "lorap": "LoRAP",
}
UNITS = {"key_value_groups": "attn", "neurons": "MLP", "layers": "layers"}


class Label(NamedTuple):
    """A method's name for readers, and its colour as `#RRGGBB`; the figures choose an empty colour."""

    label: str
    colour: str = ""


def labels(study: Study) -> dict[str, Label]:
    """Return the label of each method: the study's own, or else its criterion and the settings that differ.

    Labels are distinct: if settings do not distinguish methods, their names follow in brackets.
    """
    texts = {name: _label(name, method) for name, method in study.methods.items()}
    count = Counter(texts.values())
    return {
        name: Label(label if count[label] == 1 else f"{label} ({name})", study.methods[name].colour or "")
        for name, label in texts.items()
    }


def calibration_label(study: Study, calibration: str, sequences: int) -> str:
    """Return what distinguishes a calibration in a study, such as `C4, 64 sequences`; "" if nothing does.

    The text is given if the study has several, and the number of sequences if the calibration has sizes.
    """
    if calibration not in study.calibrations:
        return ""
    read = study.calibrations[calibration]
    parts = [read.label or calibration.replace("_", " ")] if len(study.calibrations) > 1 else []
    if len(read.sizes) > 1 and sequences:
        parts.append(f"{sequences:,} sequences")
    return ", ".join(parts)


def readable(name: str) -> str:
    """Return a label from the name of a method or criterion alone: `Entropy, 8` for `entropy_8`."""
    if name in NAMES:
        return NAMES[name]
    for base in sorted({*CRITERIA.sources(), *NAMES}, key=len, reverse=True):
        if name.startswith(f"{base}_"):
            rest = name.removeprefix(f"{base}_").replace("_", " ")
            return f"{readable(base)}, {rest}"
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _label(name: str, method: Method) -> str:
    if method.label:
        return method.label
    if method.unscored:
        name = readable(method.baseline or DENSE) if method.model in (None, DENSE) else method.model
        return ", ".join([name, *_bits(method)])
    return ", ".join([readable(method.criterion or name), *_differences(method), *_bits(method)])


def _bits(method: Method) -> list[str]:
    return [f"{method.quantised} bits"] if method.quantised else []


def _differences(method: Method) -> Iterator[str]:
    """Yield the settings of a method that are not the default."""
    yield from (_option(key, value) for key, value in method.options.items())
    if method.units != Method().units:
        yield _units(method.units)
    yield from _allocation(method.allocation)
    if method.bias:
        yield "bias"


def _option(key: str, value: Any) -> str:
    words = key.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return value.replace("_", " ") if isinstance(value, str) else f"{words} {value}"


def _units(units: UnitShares) -> str:
    """Return kinds of unit for readers: `attn+MLP`, `70 % MLP + 30 % layers`."""
    order = [kind for kind in UNITS if kind in units]
    shares = [units[kind] for kind in order]  # type: ignore[index]
    if None in shares:
        return "+".join(UNITS[kind] for kind in order)
    return " + ".join(f"{percent(share)} {UNITS[kind]}" for kind, share in zip(order, shares, strict=True))


def _allocation(allocation: Allocation) -> Iterator[str]:
    default = Allocation()
    if allocation.rule != default.rule:
        yield allocation.rule.replace("_", " ")
    if allocation.standardize:
        yield "standardized"
    if allocation.spare != default.spare:
        yield "spares {} + {} layers".format(*allocation.spare)
    if allocation.align != default.align:
        yield f"align {allocation.align}"
