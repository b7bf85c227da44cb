"""Supported models: the types that `architectures.yaml` lists as scored, cut, exported and reloaded."""

from functools import cache
from pathlib import Path

import yaml


@cache
def architectures() -> dict[str, dict[str, list[str]]]:
    """Return the types of causal language model in transformers by outcome (`tests/architectures.py`)."""
    return yaml.safe_load(Path(__file__).with_name("architectures.yaml").read_text())


def supported() -> str:
    """Return the end of an error line: the supported types, as `model_type` in a `config.json` names them."""
    return f"supported are the types {', '.join(architectures()['works'])}"
