"""Benchmark harness and replication suite for HFPrune (arXiv 2603.08083)."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# The Python API for pruning one's own model: each name with its module, which is imported on first use, and its
# name there, if that is another.
_HOMES = {
    "load": "hfprune.models.load:load_model",
    "load_tokenizer": "hfprune.models.load",
    "sample_blocks": "hfprune.calibration.blocks",
    "make_criterion": "hfprune.criteria",
    "score": "hfprune.scoring.score",
    "make_plan": "hfprune.plans.planning",
    "apply_plan": "hfprune.plans.planning",
    "prune": "hfprune.pruning.run",
    "HfpruneError": "hfprune.errors",
    "export": "hfprune.exports.checkpoint",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, own_name = _HOMES[name].partition(":")
        return getattr(import_module(module), own_name or name)
    raise AttributeError(f"module 'hfprune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
