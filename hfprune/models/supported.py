"""What is supported: the types of model that `architectures.yaml` lists as scored, cut, exported and reloaded."""

from functools import cache
from pathlib import Path

import yaml


@cache
def architectures() -> dict[str, dict[str, list[str]]]:
    """Return what becomes of each type of causal language model in transformers (`tests/architectures.py`)."""
    return yaml.safe_load(Path(__file__).with_name("architectures.yaml").read_text())


def supported() -> str:
    """Return the end of a refusal: the types that work, as `model_type` in a `config.json` names them."""
    return f"supported are the types {', '.join(architectures()['works'])}"
