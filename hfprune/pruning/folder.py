"""The folder of a pruned model: claimed by one call at a time, never one that holds something else."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import hfprune
from hfprune.errors import HfpruneError, explained
from hfprune.files import atomic_directory, require_only, require_writable, write_json

# The checkpoint, the page, the figure of loss and speed against size, and all that they were made from.
MODEL, REPORT, SWEPT, WORK = "model", "report.html", "sweep.svg", "work"
SETTINGS = "settings.json"
# What a killed run may leave in `work`, and beside it: see `hfprune.files`.
_UNFINISHED = re.compile(r"\.[\w.-]+\.[a-z0-9_]{8}(\.\w+)?")
_OURS = re.compile(r"\.(model|report|work|sweep)\.[a-z0-9_]{8}(\.\w+)?")


@contextmanager
def claimed(out: Path, settings: dict[str, Any]) -> Iterator[Path]:
    """Yield the folder `work` of an output that is new, empty or of an earlier call, for this call alone.

    The settings of the call are recorded in it. If the block fails before anything is scored, nothing is left.

    Raises:
        HfpruneError: the folder holds something else, is the model's own or within it, or cannot be written; or
            another call is at work in it.
    """
    work, model = out / WORK, Path(settings["model"]).expanduser()
    for dense in (model, Path(settings["resources"], "models", model)):
        # Who copies the dense model would take the pruned one along.
        if dense.is_dir() and out.resolve().is_relative_to(dense.resolve()):
            raise HfpruneError(f"--out: {out} is in the folder of the dense model; choose one beside it")
    about = {"settings": settings, "hfprune": hfprune.__version__}
    new = not out.exists()
    first = not (work / SETTINGS).is_file()
    if first:
        require_only(out.resolve(), [path.name for path in out.glob("*") if _OURS.fullmatch(path.name)])
    try:
        require_writable(out / MODEL)
    except OSError as error:
        raise HfpruneError(
            f"--out: cannot write to {out}: {error.strerror}; choose another folder"
        ) from error
    if first:
        with atomic_directory(work) as folder:
            write_json(folder / SETTINGS, about)
    lock = FileLock(work / ".lock", timeout=0)
    with explained(f"{out}: another `hfprune prune` is at work in it; wait, or choose another", Timeout):
        lock.acquire()
    try:
        left = [path for path in out.iterdir() if _OURS.fullmatch(path.name)]
        left += [path for path in work.rglob("*") if _UNFINISHED.fullmatch(path.name)]
        for path in left:
            # A folder may have taken others with it.
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        write_json(work / SETTINGS, about)
        yield work
    except BaseException:
        if not [*work.glob("scores/*")]:
            shutil.rmtree(work, ignore_errors=True)
            if new:
                shutil.rmtree(out, ignore_errors=True)
        raise
    finally:
        lock.release()
