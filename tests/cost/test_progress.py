"""How far a run is, by its outputs."""

import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

from hfprune.cost.progress import Progress, clock


def test_the_rest_takes_as_long_for_its_work_as_what_is_done(tmp_path: Path) -> None:
    seconds = {"a": 300.0, "b": 100.0, "old": 400.0}
    jobs = [SimpleNamespace(outputs=lambda file=tmp_path / name: [file]) for name in seconds]
    each = [SimpleNamespace(seconds=taken, share=0.5) for taken in seconds.values()]
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (0, 0))
    progress = Progress(SimpleNamespace(jobs=jobs, by_job=each))  # type: ignore[arg-type]
    assert progress.line(progress.start + 60) == "", "an output of an earlier run is not done"
    (tmp_path / "b").touch()
    late = progress.start + 600
    end = clock(late + 7 * 600)
    assert progress.line(late) == (
        f"progress: 12 % of the predicted work is done after 10 minutes; about 70 to go, until {end}"
    )
    for name in seconds:
        (tmp_path / name).touch()
    assert re.search(r"100 % .* about 0 to go", progress.line(late))


def test_a_time_of_another_day_has_its_weekday() -> None:
    now = time.time()
    assert clock(now) == time.strftime("%H:%M", time.localtime(now))
    assert clock(now + 2 * 86400) == time.strftime("%a %H:%M", time.localtime(now + 2 * 86400))
