"""The workflow on a real Slurm, and what it survives there, by `make test-cluster`; not a part of `make test`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import yaml
from cluster.slurm import NODES, Cluster, run, wait_for
from smoke import STUDY, make_project, same_as_before, snakemake

PROFILE = ("--workflow-profile", "profiles/slurm")
# A cluster's patience is longer than a test's.
QUICK = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10")
# A baseline like a user's own; it waits for a file, so that a fault can meet it.
WAITING = """
rule waiting:
    output:
        plan=f"{RESULTS}/{paths.PLAN}.safetensors",
    log:
        f"{LOGS}/{paths.PLAN}.log",
    wildcard_constraints:
        method=methods_of("waiting"),
    resources:
        gpu=1,
    shell:
        "echo $SLURM_JOB_ID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES >> attempts;"
        " until [ -e go ]; do sleep 1; done; ./work > {output.plan}"
"""
RECOVERY = {"rank": 4, "batch": 1, "length": 320, "max_steps": 200}
ADAPTER = "results/smoke/recoveries/llama/dense/none/0/0/draw0/lora"
PLAN = "results/smoke/plans/llama/waiting/text/0/0.15/draw0.safetensors"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The environment of a machine that submits: no CUDA, and what pytest set for itself is gone."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("CUDA_", "PYTEST_"))} | {
        "NO_COLOR": "1"
    }


def submit(project: Path, environment: dict[str, str], *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", *PROFILE, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen, seconds: float = 900) -> str:
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
        raise AssertionError(f"still not finished:\n{output[-5000:]}") from None
    finally:
        process.kill()
    assert process.returncode == 0, output[-5000:]
    return output


def accounts(job: str, field: str) -> str:
    return run("sacct", "-X", "-n", "-P", "-j", job, "-o", field).strip()


@pytest.fixture(scope="module")
def whole(
    cluster: Cluster, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A project whose smoke study ran on the cluster; each command of a job left a line in `seen`."""
    project = tmp_path_factory.mktemp("project")
    make_project(project)
    functions = Path(forked.environment()["BASH_ENV"]).read_text()
    look = (
        '[ -z "$SLURM_JOB_ID" ] || echo $SLURM_JOB_ID $1 ${CUDA_VISIBLE_DEVICES:-none}'
        " $(scontrol show job -d $SLURM_JOB_ID | grep -o 'IDX:[0-9,-]*') >> seen;"
    )
    (project / "functions.sh").write_text(functions.replace("{", "{ " + look, 1))
    own = environment | {"BASH_ENV": str(project / "functions.sh")}
    return project, finish(submit(project, own), 5400)


def test_the_study_publishes_what_a_local_run_publishes(whole: tuple[Path, str], tmp_path: Path) -> None:
    make_project(tmp_path)
    snakemake(tmp_path)
    here, there = (
        {str(path.relative_to(folder)) for path in folder.glob("[rf]*/smoke/**/*") if path.is_file()}
        for folder in (tmp_path, whole[0])
    )
    assert here == there
    same_as_before(whole[0] / "results/smoke/results.csv")


def test_small_jobs_are_not_entries_of_the_queue(whole: tuple[Path, str]) -> None:
    entries = re.findall(r"submitted with SLURM jobid (\d+)", whole[1])
    cells = len(STUDY["models"]) * (1 + len(STUDY["methods"]) + 1 + len(STUDY["recovery"]["methods"]))
    # And blocks of two corpora, three sweeps, packed pairs, two recoveries, the cost of a method.
    assert len(entries) <= cells + len(STUDY["models"]) * (2 + 3 + 1 + 2 + 1)
    assert {accounts(job, "State") for job in entries} == {"COMPLETED"}


def test_jobs_see_the_gpu_that_slurm_gave_them_and_others_none(whole: tuple[Path, str]) -> None:
    seen = [line.split() for line in (whole[0] / "seen").read_text().splitlines()]
    assert {command for _, command, *_ in seen} == {*("calibrate", "score", "pack", "recover", "measure")}
    for job, command, visible, *given in seen:
        asked = re.findall(r"gres/gpu=(\d+)", accounts(job, "AllocTRES"))
        if command in ("calibrate", "pack"):
            assert (visible, given, asked) == ("none", [], [])
        else:
            assert given == [f"IDX:{visible}"] and asked == ["1"], (job, command)
    used = Counter(visible for _, _, visible, *_ in seen)
    assert used["0"] and used["1"], "both GPUs of a node are used"


def test_what_needs_no_jobs_works_where_there_is_no_gpu(
    whole: tuple[Path, str], environment: dict[str, str], tmp_path: Path
) -> None:
    project = whole[0]
    assert "Nothing to be done" in finish(submit(project, environment, "--dry-run"))
    make_project(tmp_path)  # of which nothing is done
    said = finish(submit(tmp_path, environment, "--dry-run", "--resources", "mem_mb=900"))
    assert re.search(r"(?m)^cost: too large: .*, but the profile's `mem_mb` allows 0.9$", said)
    finish(submit(project, environment, "--unlock"))
    assert "results/smoke/report.html" in finish(submit(project, environment, "--summary"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("small")
    make_project(project)
    (project / "workflow/rules/baselines/waiting.smk").write_text(WAITING)
    study = {"models": ["llama"], "methods": {"waiting": {"baseline": "waiting"}}, "measures": {}}
    study |= {"primary": None, "recoveries": ["none"], "recovery": None}
    (project / "config/studies/smoke.yaml").write_text(yaml.safe_dump(STUDY | study))
    return project


@pytest.fixture
def project(cluster: Cluster, small: Path) -> Path:
    for path in (small / PLAN, small / "go", small / "attempts"):
        path.unlink(missing_ok=True)
    (small / "work").write_text("#!/bin/sh\necho planned\n")
    (small / "work").chmod(0o755)
    return small


def attempts(project: Path) -> list[list[str]]:
    path = project / "attempts"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def meets(
    project: Path, environment: dict[str, str], fault: Callable[[str, str], object], *arguments: object
) -> list[list[str]]:
    """Let a fault meet the job in its first attempt, and return all attempts."""
    process = submit(project, environment, PLAN, *QUICK, *arguments)
    try:
        wait_for(lambda: attempts(project))
        job, node, _ = attempts(project)[0]
        fault(job, node)
        (project / "go").touch()
        finish(process, 600)
    finally:
        process.kill()
    assert (project / PLAN).read_text() == "planned\n"
    return attempts(project)


def test_scancel_costs_one_attempt(project: Path, environment: dict[str, str]) -> None:
    def cancel(job: str, node: str) -> None:
        run("scancel", job)
        wait_for(lambda: accounts(job, "State").startswith("CANCELLED"))

    assert len(meets(project, environment, cancel)) == 2


def test_a_node_that_dies_costs_one_attempt(
    cluster: Cluster, project: Path, environment: dict[str, str]
) -> None:
    def die(job: str, node: str) -> None:
        cluster.cut_power(node)
        wait_for(lambda: cluster.state(node) == "down")

    made = meets(project, environment, die)
    nodes = [node for _, node, _ in made]
    assert len(nodes) == 2 and nodes[0] != nodes[1]
    assert accounts(made[0][0], "State") == "NODE_FAIL"
    cluster.start(nodes[0])
    wait_for(lambda: all(cluster.state(node) == "idle" for node in NODES))


def test_a_controller_that_restarts_costs_at_most_one_attempt(
    cluster: Cluster, project: Path, environment: dict[str, str]
) -> None:
    def restart(job: str, node: str) -> None:
        cluster.stop_controller()
        (project / "go").touch()  # the job ends while nobody listens
        wait_for(lambda: (project / PLAN).exists())
        cluster.start_controller()

    assert len(meets(project, environment, restart)) <= 2


def test_a_job_beyond_its_time_is_tried_again_with_more(project: Path, environment: dict[str, str]) -> None:
    more = ("--set-resources", "waiting:runtime=attempt")
    made = meets(project, environment, lambda *_: wait_for(lambda: len(attempts(project)) == 2, 300), *more)
    assert [accounts(job, "State") for job, _, _ in made] == ["TIMEOUT", "COMPLETED"]
    assert [accounts(job, "TimelimitRaw") for job, _, _ in made] == ["1", "2"]


def test_a_job_beyond_its_memory_is_tried_again_with_more(
    cluster: Cluster, project: Path, environment: dict[str, str]
) -> None:
    (project / "go").touch()
    fill = "import time; filled = b'x' * (900 << 20); time.sleep(10); print('planned')"
    (project / "work").write_text(f'#!/bin/sh\n{sys.executable} -c "{fill}"\n')
    more = ("--set-resources", "waiting:mem_mb=700 * 4 ** (attempt - 1)")
    finish(submit(project, environment, PLAN, *QUICK, *more))
    made = attempts(project)
    states = [accounts(job, "State") for job, _, _ in made]
    assert len(states) == 2 and states[0] != "COMPLETED" == states[1], states
    assert [accounts(job, "ReqMem") for job, _, _ in made] == ["700M", "2800M"]
    node = (cluster.home / "log" / made[0][1]).read_text()
    assert re.search(rf"\[{made[0][0]}\.0\] error: .* exceeded memory limit", node)


# Until it may go on, a recovery is stopped after its tenth step, and its job waits for its limit of time.
OFTEN = "from hfprune.recovery import lora; lora.SAVE_SECONDS = 0; from hfprune.commands import main; main()"
STOPS = f"""
hfprune() {{
    [ "$1" = recover ] && [ ! -e go ] || {{ command hfprune "$@"; return; }}
    {sys.executable} -c "{OFTEN}" "$@" &
    until [ -n "$(find {ADAPTER}.state -path '*-[1-9][0-9]*/trainer_state.json')" ]; do sleep 1; done
    kill -9 $!; touch go; sleep 600
}}
"""


def test_recovery_goes_on_after_a_limit_of_time(
    cluster: Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    make_project(tmp_path)
    study = {"models": ["llama"], "methods": {"random": None}, "measures": {}, "primary": None}
    study["recovery"] = {"instructions": "pairs", "without": ["random"], **RECOVERY}
    (tmp_path / "config/studies/smoke.yaml").write_text(yaml.safe_dump(STUDY | study))
    (tmp_path / "stops.sh").write_text(STOPS)
    own = environment | {"BASH_ENV": str(tmp_path / "stops.sh")}
    limits = ("--set-resources", "recover:runtime=attempt", "recover:slurm_partition=short")
    output = finish(submit(tmp_path, own, f"{ADAPTER}/recovery.json", *QUICK, *limits), 2400)
    losses = json.loads((tmp_path / ADAPTER / "recovery.json").read_text())["provenance"]["losses"]
    packed, *jobs = re.findall(r"submitted with SLURM jobid (\d+)", output)
    states = [accounts(job, "State") for job in jobs]
    assert states[-1] == accounts(packed, "State") == "COMPLETED" and {*states[:-1]} == {"TIMEOUT"}
    assert len(losses) == RECOVERY["max_steps"]
    log = (tmp_path / f"{ADAPTER.replace('results', 'logs')}.log").read_text()
    assert int(re.search(r"step (\d+) of", log)[1]) > 10, "the last job did not begin anew"


def test_without_accounting_squeue_is_asked(
    cluster: Cluster, project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The last test: the others ask the accounting."""
    for folder in map(Path, ("/usr/bin", "/bin", "/usr/sbin", "/sbin")):
        for program in folder.iterdir():
            if program.name != "sacct" and not (tmp_path / program.name).is_symlink():
                (tmp_path / program.name).symlink_to(program)
    process = submit(project, environment | {"PATH": str(tmp_path)}, PLAN)
    output, _ = process.communicate()
    assert process.returncode == 1 and "no sacct on this machine" in output and "Traceback" not in output
    cluster.lose_accounting()
    assert "disabled" in subprocess.run(["sacct"], capture_output=True, text=True, check=False).stderr

    assert len(meets(project, environment, lambda job, node: run("scancel", job))) == 2
