"""The progress of a run, and its predicted end."""

import time
from datetime import datetime
from pathlib import Path

from hfprune.cost.costs import Costs
from hfprune.rounding import percent


class Progress:
    """The share of a run's predicted work that is done, by outputs that are newer than its start."""

    def __init__(self, costs: Costs) -> None:
        """Start with the jobs that will run, each with its predicted time on its share of the machine."""
        self.start = time.time()
        by_job = zip(costs.jobs, costs.by_job, strict=True)
        self.work = {job.outputs()[-1]: cost.seconds * cost.share for job, cost in by_job}

    def share(self) -> float:
        """Return the share of the predicted work that is done, at most 1; 0 if nothing is predicted."""
        done = sum(work for file, work in self.work.items() if self._is_made(file))
        return min(1.0, done / sum(self.work.values())) if done else 0.0

    def rest(self, share: float, now: float) -> float:
        """Return the seconds to the end if `share`, more than 0, is done `now`, in seconds since the epoch.

        The rest is assumed to go at the same pace.
        """
        return (now - self.start) * (1 - share) / share

    def line(self, now: float) -> str:
        """Return a line about the progress at `now`, in seconds since the epoch; "" before anything is done."""
        share = self.share()
        if not share:
            return ""
        rest = self.rest(share, now)
        return (
            f"progress: {percent(round(share, 2))} of the predicted work is done "
            f"after {(now - self.start) / 60:.0f} minutes; about {rest / 60:.0f} to go, until {clock(now + rest)}"
        )

    def _is_made(self, file: Path) -> bool:
        # A file system's clock may be a tick behind.
        return file.exists() and file.stat().st_mtime > self.start - 1


def clock(seconds: float) -> str:
    """Return the time of day at `seconds` since the epoch, with the weekday if it is not today."""
    then = datetime.fromtimestamp(seconds).astimezone()
    return f"{then:%H:%M}" if then.date() == datetime.now().astimezone().date() else f"{then:%a %H:%M}"
