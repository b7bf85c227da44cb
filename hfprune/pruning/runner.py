"""Steps one after the other: each is announced by its number and timed, and not repeated for the same inputs."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from hfprune.files import read_json, write_json
from hfprune.provenance import is_current, origin


class Step(NamedTuple):
    """What a step does, and what its result depends on."""

    run: Callable[[], object]
    outputs: Sequence[Path]
    """Files or folders that `run` writes, each atomically: if it is there, it is complete. Empty: always run."""
    inputs: dict[str, Path]
    """Role → file or folder that is read; known by its contents."""
    settings: dict[str, Any]


# By title; called when it is the step's turn, since its inputs are the outputs of earlier steps.
Steps = dict[str, Callable[[], Step]]


def take_all(steps: Steps, records: Path, log: Path) -> dict[str, float]:
    """Take the steps in order, and return the seconds of each by its title.

    A step whose inputs, settings and version are those of its record is skipped, and its record has its seconds.

    Args:
        steps: what to do, by title.
        records: folder of the records; a step is recorded when it has succeeded.
        log: file to which everything is added that steps print on standard output.
    """
    seconds: dict[str, float] = {}
    for number, (title, make) in enumerate(steps.items(), start=1):
        head = f"[{number}/{len(steps)}] {title}"
        step, record = make(), records / f"{title.replace(' ', '-').lower()}.json"
        depends = step.inputs, step.settings
        if step.outputs and is_current(record, step.outputs, *depends):
            seconds[title] = read_json(record)["seconds"]
            print(f"{head}: is there (took {seconds[title]:.0f} s)", file=sys.stderr)
            continue
        # A run that is killed in between may have replaced a part of what the record is about.
        record.unlink(missing_ok=True)
        print(f"{head} …", file=sys.stderr)
        start = time.perf_counter()
        with log.open("a") as file, redirect_stdout(file):
            step.run()
        seconds[title] = time.perf_counter() - start
        write_json(record, {"provenance": origin(*depends), "seconds": seconds[title]})
        print(f"{head}: {seconds[title]:.0f} s", file=sys.stderr)
    return seconds
