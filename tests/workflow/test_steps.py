"""A method in steps through the workflow: rules by step, after a kill too, and the plan that the commands give."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import yaml
from command_line import run
from smoke import STUDY, jobs, make_project, snakemake, write

from hfprune.plans.planning import load_plan
from hfprune.scoring.score_files import load_resampled

PLAN = "results/smoke/plans/llama/in_steps/text/8/0.15/draw0.safetensors"
STEPS = "results/smoke/steps/llama/in_steps/text/8/0.15/draw0"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    make_project(folder)
    study = STUDY | {
        "models": ["llama"],
        "methods": {"in_steps": {"criterion": "entropy", "steps": 3}},
        "recoveries": ["none"],
        "recovery": None,
        "calibrations": {"text": STUDY["calibrations"]["text"] | {"sequences": 8}},
        "resamples": 2,
        "measures": {"fidelity": STUDY["measures"]["fidelity"]},
    }
    write(folder / "config/studies/smoke.yaml", study)
    return folder


def set_method(project: Path, **method: object) -> None:
    path = project / "config/studies/smoke.yaml"
    write(path, yaml.safe_load(path.read_text()) | {"methods": {"in_steps": method}})


def test_a_killed_run_goes_on_at_its_step_and_comes_to_the_plan_by_hand(
    project: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", PLAN]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "NO_COLOR": "1"} | forked.environment()
    killed = subprocess.Popen(
        command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    started = re.compile(r"score step \d of llama, in_steps 0\.15 .* …$")
    scored = filter(started.search, killed.stderr)
    assert next(scored) and next(scored), "the second and the third step"
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (project / PLAN).exists()
    before = {path: path.stat().st_mtime_ns for path in (project / STEPS).glob("*2.safetensors")}
    assert len(before) == 2
    subprocess.run([*command, "--unlock"], cwd=project, env=environment, check=True, capture_output=True)
    done = jobs(snakemake(project, PLAN, "--rerun-incomplete"))
    assert done == {"score_step": 1, "plan": 1}
    assert {path: path.stat().st_mtime_ns for path in before} == before

    model = ("--model", project / "resources/models/llama")
    blocks = ("--blocks", project / "results/smoke/calibration/llama/text/draw0.safetensors")
    plan = ()
    for step in (1, 2, 3):
        scores = ("--out", tmp_path / f"scores{step}.safetensors")
        run("score", *model, *blocks, "--criterion", "entropy", "--dtype", "float32", *plan, *scores)
        plan = ("--plan", tmp_path / f"plan{step}.safetensors")
        cut = ("--scores", scores[1], "--ratio", 0.15, *(("--part", f"{step / 3:.6g}") if step < 3 else ()))
        run("plan", *model, *cut, "--out", plan[1])
    found, expected = load_plan(project / PLAN), load_plan(plan[1])
    assert {place: kept.tolist() for place, kept in found.items()} == {
        place: kept.tolist() for place, kept in expected.items()
    }
    assert load_resampled(project / PLAN.replace(".safetensors", ".resampled.safetensors")) == []
    assert "Nothing to be done" in snakemake(project, PLAN)


def test_another_number_of_steps_scores_the_dense_model_no_more(project: Path) -> None:
    set_method(project, criterion="entropy", steps=3)
    snakemake(project, PLAN)  # has nothing to do after the test above
    set_method(project, criterion="entropy", steps=2)
    assert jobs(snakemake(project, PLAN, "--dry-run")) == {"plan_step": 1, "score_step": 1, "plan": 1}
    set_method(project, criterion="entropy")
    assert jobs(snakemake(project, PLAN, "--dry-run")) == {"plan": 1}
