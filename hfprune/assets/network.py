"""Whether the hub may be contacted: only while an asset is fetched."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
# What the user had set before `close`: a user who is offline stays so.
_users: dict[str, str | None] = {}


def close() -> None:
    """Keep Hugging Face libraries off the network in this process, except within `opened`."""
    if not _users:
        _users.update({name: os.environ.get(name) for name in _VARIABLES})
    _set(dict.fromkeys(_VARIABLES, "1"))


@contextmanager
def opened() -> Iterator[None]:
    """Let the hub be contacted within the block, unless the user has set HF_HUB_OFFLINE."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    _set(_users)
    try:
        yield
    finally:
        _set(before if _users else {})


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    # The client reads its variable once, when it is imported.
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and "HF_HUB_OFFLINE" in variables:
        offline = variables["HF_HUB_OFFLINE"] or ""
        constants.HF_HUB_OFFLINE = offline.upper() in constants.ENV_VARS_TRUE_VALUES  # type: ignore[attr-defined]
