"""How far a run is, and when it will end: a line a minute while its jobs run."""

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread

from hfprune.cost.costs import Costs
from hfprune.rounding import percent

EVERY = 60.0


class Progress:
    """What is done of a run's predicted work, by the outputs that are newer than its start."""

    def __init__(self, costs: Costs) -> None:
        """Begin with the jobs that will run, each with its predicted time on its part of the machine."""
        self.start = time.time()
        found = zip(costs.jobs, costs.each, strict=True)
        self.work = {job.outputs()[-1]: cost.seconds * cost.share for job, cost in found}

    def line(self, now: float) -> str:
        """Return how far the run is at a time in seconds since the epoch; "" before anything is done.

        The rest takes as long for its predicted work as what is done took for its own.
        """
        done = sum(work for file, work in self.work.items() if self._is_made(file))
        if not done:
            return ""
        share, taken = done / sum(self.work.values()), now - self.start
        rest = taken * (1 - share) / share
        end = datetime.fromtimestamp(now).astimezone() + timedelta(seconds=rest)
        return (
            f"progress: {percent(round(share, 2))} of the predicted work is done after {taken / 60:.0f} minutes; "
            f"about {rest / 60:.0f} to go, until {end:%H:%M}"
        )

    def _is_made(self, file: Path) -> bool:
        # A file system's clock may be a tick behind.
        return file.exists() and file.stat().st_mtime > self.start - 1


def follow(progress: Progress) -> None:
    """Print the line of a run every minute in which it changes, until the process ends."""

    def repeat() -> None:
        said = ""
        while True:
            time.sleep(EVERY)
            line = progress.line(time.time())
            if line.partition(" after")[0] != said.partition(" after")[0]:
                print(line, file=sys.stderr, flush=True)
                said = line

    Thread(target=repeat, daemon=True).start()
