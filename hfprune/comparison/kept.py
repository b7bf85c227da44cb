"""The folder of answers that `hfprune compare` measured, for one pair of models and one set of settings."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import hfprune
from hfprune.errors import HfpruneError, explained
from hfprune.files import read_json, remove_unfinished, require_only, write_json
from hfprune.provenance import identity

# The models, tasks and settings of the answers.
MANIFEST = "manifest.json"


def claim(
    folder: Path, models: Mapping[str, Path], tasks: Collection[str], settings: Mapping[str, Any]
) -> None:
    """Write the manifest of a folder that is new, empty, or holds answers of the same models and settings.

    Tasks may be added to those that the folder has.

    Args:
        folder: gets the manifest, and later one folder of answers per side.
        models: the folder of each side's model, by the side.
        tasks: names of the tasks that are to be answered.
        settings: those that change an answer, as JSON values.

    Raises:
        HfpruneError: the folder holds something else, other models' answers, or answers with other settings.
    """
    file, other = folder / MANIFEST, "name another by --out (nothing was touched)"
    sides = {side: {"path": str(model), "sha256": identity(model)} for side, model in models.items()}
    before: list[str] = []
    if file.is_file():
        with explained(f"{file}: damaged; {other}", ValueError, KeyError, TypeError, AttributeError):
            earlier = read_json(file)
            before, old_models, old_settings = earlier["tasks"], earlier["models"], earlier["settings"]
            hashes = {side: model["sha256"] for side, model in old_models.items()}
            paths = " and ".join(str(model["path"]) for model in old_models.values())
        if hashes != {side: model["sha256"] for side, model in sides.items()}:
            raise HfpruneError(f"{folder}: holds the answers of {paths}, as they were then; {other}")
        for name, value in settings.items():
            if old_settings.get(name) != value:
                differing = f"{name} {old_settings.get(name)}, not {value}"
                raise HfpruneError(f"{folder}: holds answers with {differing}; {other}")
    else:
        remove_unfinished(folder, [MANIFEST])
        require_only(folder.resolve(), [])
    about = {"hfprune": hfprune.__version__, "models": sides, "settings": dict(settings)}
    write_json(file, about | {"tasks": sorted({*before, *tasks})})
