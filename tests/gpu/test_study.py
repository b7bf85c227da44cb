"""The smoke study from end to end on two GPUs."""

import json
from pathlib import Path

import forked
import pytest
from gpu.simulator import Machine
from smoke import make_project, same_as_before, snakemake


@pytest.mark.thorough
def test_the_smoke_study_runs_and_its_measures_have_the_numbers_of_the_cpu(
    gpus: Machine, tmp_path: Path
) -> None:
    make_project(tmp_path)
    report = tmp_path / "report.jsonl"
    devices = {"SIMCUDA_DEVICES": "2", "SIMCUDA_REPORT": str(report)}
    snakemake(tmp_path, on=gpus.environment | devices | {"BASH_ENV": forked.functions(gpus.address)})
    same_as_before(tmp_path / "results/smoke/results.csv")
    contexts = [json.loads(line)["contexts"] for line in report.read_text().splitlines()]
    assert {0, 1} == set().union(*map(set, contexts)), "both worked"
    assert max(map(len, contexts)) == 1, "no job opened two"
