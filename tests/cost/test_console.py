"""What the console prints of Snakemake's records, on a terminal and in a log."""

import logging
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

from hfprune.cost.console import Console
from hfprune.cost.progress import Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def console_on(stream: StringIO, *, verbose: bool = False) -> Console:
    full = ColorizingTextHandler(
        nocolor=True, stream=stream, formatter=DefaultFormatter(), filter=DefaultFilter(None, *[False] * 4)
    )
    return Console(full, verbose=verbose)


def progress_of(*files: Path) -> Progress:
    jobs = [SimpleNamespace(outputs=lambda file=file: [file]) for file in files]
    each = [SimpleNamespace(seconds=100.0, share=1.0)] * len(files)
    return Progress(SimpleNamespace(jobs=jobs, by_job=each))  # type: ignore[arg-type]


def tell(console: Console, message: str | None = None, level: int = logging.INFO, **fields: object) -> None:
    console.handle(logging.makeLogRecord({"msg": message, "levelno": level, **fields}))


def start(console: Console, job: int, message: str, reason: str = "because") -> None:
    fields = {"rule_msg": message, "rule_name": "rule", "wildcards": {}, "indent": False}
    tell(console, event="job_info", jobid=job, reason=reason, **fields)


def end(console: Console, job: int, done: int) -> None:
    tell(console, f"Finished jobid: {job}", event="job_finished", job_id=job)
    tell(console, event="progress", done=done, total=3)


def test_log_has_a_line_where_a_job_starts_and_one_where_it_ends() -> None:
    stream = StringIO()
    console = console_on(stream)
    tell(console, "Job stats:\n", event="run_info", stats={"total": 3})
    console.follow(progress_of(Path("nothing")))
    tell(console, "Select jobs to execute...")
    start(console, 5, "score llama")
    start(console, 6, "plan llama")
    end(console, 6, 1)
    end(console, 5, 2)
    tell(console, "a warning", logging.WARNING)
    title, blank, *lines, warning = stream.getvalue().splitlines()
    assert (title, blank, warning) == ("Job stats:", "", "a warning")
    assert [line.split(" ", 2)[2] for line in lines] == [
        "[0/3] score llama …",
        "[0/3] plan llama …",
        "[1/3] plan llama: done after 0 s",
        "[2/3] score llama: done after 0 s",
    ]


def test_a_dry_run_names_the_jobs_and_verbose_adds_their_reasons() -> None:
    plain, full = StringIO(), StringIO()
    for stream in (plain, full):
        start(console_on(stream, verbose=stream is full), 5, "score llama")
    assert plain.getvalue() == "score llama\n"
    assert full.getvalue().splitlines()[1:] == ["Job 5: score llama", "Reason: because"]


def test_terminal_keeps_a_bar_that_says_until_when(tmp_path: Path) -> None:
    stream, file = Terminal(), tmp_path / "scores"
    console = console_on(stream)
    console.follow(progress_of(file, tmp_path / "plan"))
    start(console, 5, "score llama")
    file.touch()
    end(console, 5, 1)
    assert "\r 50 % |" in stream.getvalue()
    assert ": done after 0 s\n\r" in stream.getvalue(), "the line stands above the bar"
    assert "| 1 of 3 jobs, until " in stream.getvalue().rpartition("\r")[2]
    start(console, 6, "plan llama")
    end(console, 6, 3)
    assert not stream.getvalue().rpartition("\r")[0].rpartition("\r")[2].strip(), "the bar is gone"


def test_a_defect_of_the_console_does_not_end_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    tell(console_on(StringIO()), event="job_finished")  # of no job
    assert "AttributeError" in capsys.readouterr().err
