"""A study killed as by a power loss, at random moments: nothing is lost, and success is never said too early."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from smoke import ROOT, STUDY, change, contents, snakemake

pytestmark = pytest.mark.thorough

CELLS = "results/smoke/cells"
# `make kills` asks for twenty, from a new seed.
KILLS = int(os.environ.get("HFPRUNE_KILLS", "3"))
SEED = int(os.environ.get("HFPRUNE_KILLS_SEED", random.SystemRandom().randrange(10**6)))
# A run starts a dozen jobs or so, of some seconds each; the first is a few seconds away.
JOBS, SECONDS = 8, 3.0
REPRODUCE = ["make", "--assume-old=setup", f"BIN={Path(sys.executable).parent}", "reproduce"]


@pytest.fixture
def project(project: Path) -> Path:
    """The finished project as a small study of one model, whose results are yet to be made."""
    change(
        project / "config/studies/smoke.yaml",
        models=["llama"],
        methods={name: STUDY["methods"][name] for name in ("entropy", "random")},
        recoveries=["none"],
        recovery=None,
        # Latency takes all cores, whose number `snakemake --unlock` does not know.
        measures={name: STUDY["measures"][name] for name in ("fidelity", "latency")},
    )
    change(project / "config/config.yaml", cells_per_job=2)
    shutil.copy(ROOT / "Makefile", project)
    shutil.rmtree(project / "results")
    return project


def killed(project: Path, jobs: int, seconds: float) -> bool:
    """Run the study and kill it some seconds after a number of jobs have started; false if it ended before."""
    with subprocess.Popen(
        REPRODUCE,
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stderr
        started = 0
        for line in run.stderr if jobs else ():
            started += line.endswith(" …\n")
            if started == jobs:
                break
        try:
            run.wait(timeout=seconds)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
            os.killpg(run.pid, signal.SIGKILL)
    assert not ended or run.returncode == 0
    return not ended


def unlocked(project: Path) -> None:
    """Run the one command that a run names after a kill, if it is needed."""
    if not any((project / ".snakemake/locks").glob("*")):
        return
    refused = subprocess.run(REPRODUCE, cwd=project, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    command = re.search(r"after a kill: (.*), then the same command again", refused.stderr)
    assert command, refused.stderr
    subprocess.run(command[1], shell=True, cwd=project, check=True, capture_output=True)


def test_a_study_killed_at_random_moments_comes_to_the_same_numbers(
    project: Path, finished: tuple[Path, str]
) -> None:
    """Each kill is of a run that goes on from the last; a run that ends first begins the study anew."""
    pattern = f"{CELLS}/llama/*/*/*/0.15/draw0/none/fidelity.parquet"
    before = contents(finished[0], pattern)
    moments = random.Random(SEED)
    history = []
    try:
        while sum(history) < KILLS:
            history.append(killed(project, moments.randrange(JOBS), moments.uniform(0, SECONDS)))
            unlocked(project)
            if not history[-1]:
                assert complete(project, pattern, before)
                shutil.rmtree(project / "results")
        snakemake(project)
        assert complete(project, pattern, before)
        assert "Nothing to be done" in snakemake(project)
    except BaseException as error:
        error.add_note(f"HFPRUNE_KILLS_SEED={SEED} HFPRUNE_KILLS={KILLS}, after {history} (true: killed)")
        raise


def complete(project: Path, pattern: str, before: dict[str, str]) -> bool:
    page = project / "results/smoke/report.html"
    ours = {path: known for path, known in before.items() if "/entropy_attention/" not in path}
    return page.exists() and contents(project, pattern) == ours
