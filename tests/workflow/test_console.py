"""What people see of a run: two lines a job, errors in full, reasons where they are asked for, how to unlock."""

import re
import subprocess
from pathlib import Path

from smoke import jobs, snakemake

LONGEST = 300
# The study, its cost, the table of jobs and what `hfprune check` says at the end.
AROUND = 60
JOB = re.compile(r"(?m)^\w{3} [\d:]{8} \[\d+/(\d+)\] (.+?)(?: …|: done after \d+ (?:s|min))$")


def test_console_of_a_run_is_two_short_lines_a_job(finished: tuple[Path, str]) -> None:
    folder, said = finished
    count, lines = sum(jobs(said).values()), said.splitlines()
    assert len(lines) <= 2 * count + AROUND
    assert max(map(len, lines)) <= LONGEST
    totals, names = zip(*JOB.findall(said), strict=True)
    assert {*totals} == {str(count)}
    assert all(names.count(name) % 2 == 0 for name in names) and len(names) == 2 * count
    for name in (
        "fetch models/qwen2",
        "calibrate qwen2 on text",
        "plan llama, random 0.15 draw 0, text",
        "measure latency of llama, entropy 0.15 draw 0, text",
        "recover qwen3, entropy 0.15 draw 0, text, lora",
    ):
        assert name in names
    assert "Reason: " not in said
    log = "".join(file.read_text() for file in (folder / ".snakemake/log").iterdir())
    assert log.count("Reason: ") == count, "Snakemake's own log has the reasons"


def test_failed_job_is_named_and_its_log_is_shown(project: Path) -> None:
    (project / "results/smoke/effects.csv").write_text("nonsense\n")
    said = snakemake(project, "tables", check=False)
    assert re.search(r"(?m)\] tables of results/smoke: failed after \d+ s$", said)
    assert "Error in rule tables:" in said and "Logfile logs/smoke/tables.log:" in said
    assert (project / "logs/smoke/tables.log").read_text().splitlines()[-1] in said


def test_reasons_are_there_where_they_are_asked_for(project: Path) -> None:
    (project / "results/smoke/report.html").unlink()
    reason = "Reason: Missing output files: results/smoke/report.html"
    said = snakemake(project, "--dry-run")
    assert "\npage of results/smoke\n" in said and "eason" not in said
    assert reason in snakemake(project, "--dry-run", "--verbose")


def test_locked_folder_says_how_to_unlock_it(project: Path) -> None:
    lock = project / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/smoke/report.html\n")
    said = snakemake(project, check=False)
    command = re.search(
        r"(?m)^This folder is locked\. .* after a kill: (.*), then the same command again$", said
    )
    assert command and "--unlock argument" not in said
    subprocess.run(command[1], shell=True, cwd=project, check=True, capture_output=True)
    assert "Nothing to be done" in snakemake(project)
