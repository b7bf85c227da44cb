"""Where fetched assets lie: in the working folder, or in one folder of the user's."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfprune.assets.shipped import shipped

CATALOGUE, RESOURCES = Path("config/assets.yaml"), Path("resources")


def user_folder() -> Path:
    """Return the folder of what all working folders share: `HFPRUNE_HOME`, or `hfprune` in the user's cache."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HFPRUNE_HOME") or Path(caches, "hfprune")).expanduser()


def resources_folder(catalogue: Path = CATALOGUE) -> Path:
    """Return the folder of fetched assets that a command takes by itself.

    It is `resources` where that holds an asset, or where a catalogue of the working folder's own may give other
    assets the same names; elsewhere one for all working folders, which hold to the package's catalogue.
    """
    own = CATALOGUE.exists() or (catalogue.exists() and catalogue.absolute() != shipped(CATALOGUE).absolute())
    holds_assets = any(RESOURCES.glob("*/*/asset.json"))
    return RESOURCES if own or holds_assets else user_folder() / "resources"


def resources_of(given: Mapping[str, Any]) -> Path:
    """Return `resources_folder` for the `catalogue` among the validated fields of a command's settings."""
    return resources_folder(given.get("catalogue", CATALOGUE))


def is_shared(resources: Path) -> bool:
    """Tell whether these are the assets of all working folders, which other versions may have fetched."""
    return resources.absolute() == (user_folder() / "resources").absolute()
