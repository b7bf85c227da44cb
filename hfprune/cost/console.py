"""The console output of a run: one line when a job starts, one when it ends, and the time of the end."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from hfprune.cost.progress import Progress, clock

if TYPE_CHECKING:
    from tqdm import tqdm

# Seconds between updates of the progress.
EVERY = 60.0
# Events and messages of Snakemake about itself, and summaries of reasons; they are in its log file.
SILENT = {"workflow_started", "job_started", "resources_info", "group_info"}
NOISE = re.compile(
    "Assuming unrestricted shared|Building DAG|Using shell|Conda environments: ign|Singularity containers: ign"
    "|Group jobs: inactive|Select jobs|DAG of jobs will be|Updating checkpoint|Reasons:|Rules with provenance"
    "|Some jobs were triggered by provenance"
)
BAR = "{percentage:3.0f} % |{bar:30}| {desc}"


class Console(logging.Handler):
    """Replaces Snakemake's handler of the terminal, whose texts of errors and warnings it prints.

    On a terminal, a bar stays in the last line; elsewhere, a line of progress is printed at most once a minute.
    """

    def __init__(self, full: Any, *, verbose: bool) -> None:
        """Take over from `full`, Snakemake's own handler; `verbose` leaves out nothing."""
        super().__init__()
        self.full, self.verbose = full, verbose
        self.running: dict[int, tuple[str, float]] = {}
        """Number of a job → its name, and its start in seconds since the epoch."""
        self.ended: list[int] = []
        """Jobs that have ended since Snakemake counted last."""
        self.done = self.total = 0
        self.progress: Progress | None = None
        """None in a dry run."""
        self.bar: tqdm | None = None

    def follow(self, progress: Progress) -> None:
        """Show the progress from now on, until the process ends."""
        self.progress = progress
        if self.full.stream.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=1.0, file=self.full.stream, bar_format=BAR, leave=False, dynamic_ncols=True)
        Thread(target=self._repeat, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the lines of a record, above the bar if there is one."""
        try:
            if self.full.filter(record):
                for line in self._lines(record):
                    self._print(line)
        except Exception:
            self.handleError(record)  # an error in printing must not end the run

    def close(self) -> None:
        """Remove the bar."""
        with self._locked():
            self._remove_bar()
        super().close()

    def _lines(self, record: Any) -> Iterator[str]:
        event = getattr(record, "event", None)
        if hasattr(record, "stats"):
            self.total = record.stats["total"]
        if event == "progress":
            self.done, self.total = record.done, record.total
        if not self.verbose and event == "job_info":
            yield self._start(record)
        elif not self.verbose and event == "job_finished":
            self.ended.append(record.job_id)  # its line needs the count, which follows
        elif not self.verbose and event == "progress":
            yield from [self._end(job, "done") for job in self.ended]
            self.ended.clear()
        elif self.verbose or not self._is_noise(record, event):
            if event == "job_error" and record.jobid in self.running:
                yield self._end(record.jobid, "failed")
            yield self.full.decorate(record, self.full.format(record))
        if event in ("progress", "run_info"):
            self._draw()

    def _is_noise(self, record: logging.LogRecord, event: str | None) -> bool:
        if record.levelno > logging.INFO:
            return False
        return event in SILENT or NOISE.match(str(record.msg)) is not None

    def _start(self, record: Any) -> str:
        name = record.rule_msg or " ".join([record.rule_name, *record.wildcards.values()])
        if self.progress is None:
            return name
        self.running[record.jobid] = name, time.time()
        return self._stamped(f"{name} …")

    def _end(self, job: int, how: str) -> str:
        name, start = self.running.pop(job)
        seconds = time.time() - start
        duration = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
        return self._stamped(f"{name}: {how} after {duration}")

    def _stamped(self, text: str) -> str:
        return f"{time.strftime('%a %H:%M:%S')} [{self.done}/{self.total}] {text}"

    def _print(self, line: str) -> None:
        if self.bar is not None:
            self.bar.write(line, file=self.full.stream)
        else:
            print(line, file=self.full.stream, flush=True)

    def _draw(self) -> None:
        if self._is_over():
            self._remove_bar()
        elif self.bar is not None and self.progress is not None:
            share, now = self.progress.share(), time.time()
            until = f", until {clock(now + self.progress.rest(share, now))}" if share else ""
            self.bar.n = share
            self.bar.set_description_str(f"{self.done} of {self.total} jobs{until}")

    def _is_over(self) -> bool:
        return 0 < self.total == self.done

    def _remove_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _repeat(self) -> None:
        previous = ""
        while not self._is_over():
            time.sleep(EVERY)
            with self._locked():
                if self.bar is not None:
                    self._draw()
                elif self.progress is not None and not self._is_over():
                    line = self.progress.line(time.time())
                    if line.partition(" after")[0] != previous.partition(" after")[0]:
                        self._print(line)
                        previous = line

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()
