"""The list of a study's jobs: every file has one origin, and what the study collects is among the outputs."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from smoke import ROOT

from hfprune.assets.catalogue import Catalogue
from hfprune.jobs.files import Files
from hfprune.jobs.job import Job
from hfprune.jobs.listing import list_jobs
from hfprune.jobs.scoring import fetch_job, method_settings
from hfprune.settings import load, validate
from hfprune.study import layout
from hfprune.study.references import load_study
from hfprune.study.study import Study

STUDIES = sorted((ROOT / "config/studies").glob("*.yaml"))
STEPS = {"entropy": {"steps": 3}, "magnitude": None, "outside": {"baseline": "outside"}}


def files_of(study: Study, name: str, catalogue: Catalogue, cells_per_job: int = 1) -> Files:
    made = {one.baseline: "checkpoint" for one in study.methods.values() if one.baseline}
    return Files(name, study, catalogue, made, cells_per_job)


def outputs(jobs: list[Job]) -> list[str]:
    return [file for job in jobs for files in job.outputs.values() for file in files]


@pytest.fixture
def catalogue() -> Catalogue:
    return load(Catalogue, ROOT / "config/assets.yaml")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("cells_per_job", [1, 4])
def test_every_file_has_one_job_and_every_job_its_inputs(
    path: Path, cells_per_job: int, catalogue: Catalogue
) -> None:
    study, catalogue = load_study(path, catalogue)
    files = files_of(study, path.stem, catalogue, cells_per_job)
    jobs = [*list_jobs(files)]
    written = Counter(outputs(jobs))
    assert set(written.values()) == {1}
    known = {
        *written,
        *(f"{files.results}/{layout.METHOD}.json".format(method=name) for name in study.methods),
    }
    read = {file for job in jobs for inputs in job.inputs.values() for file in inputs}
    assert read <= known
    collected = [*layout.result_files(path.stem, study), *layout.item_files(path.stem, study)]
    assert {f"{files.results}/{file}" for file in collected} <= known
    assert len({(job.rule, *sorted(job.at.items())) for job in jobs}) == len(jobs)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_settings_are_those_of_the_stage(path: Path, catalogue: Catalogue) -> None:
    study, catalogue = load_study(path, catalogue)
    for job in list_jobs(files_of(study, path.stem, catalogue)):
        again = validate(type(job.config), json.loads(job.settings()), job.rule)
        assert again == job.config


def changed(study: dict, **changes: object) -> Study:
    return validate(Study, study | changes, "s")


def small() -> dict:
    return {
        "models": ["smollm2-135m-instruct-q4"],
        "methods": STEPS,
        "ratios": [0.2],
        "calibration": {"corpus": "c4-sample", "sequences": 16, "length": 32, "resamples": 2},
        "dtype": "auto",
        "measures": {"perplexity": {"corpus": "c4-sample-heldout", "sequences": 2, "length": 16}},
    }


def test_what_measures_time_is_timed_and_nothing_else(catalogue: Catalogue) -> None:
    """So that nothing runs beside it, whatever a machine's GPUs."""
    study, catalogue = load_study(ROOT / "config/studies/families.yaml", catalogue)
    jobs = [*list_jobs(files_of(study, "families", catalogue))]
    assert {job.rule for job in jobs if job.timed} == {"measure_latency"}


def test_a_local_file_in_the_home_folder_is_an_input(
    catalogue: Catalogue, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.jsonl").write_text("{}")
    local = {"source": {"provider": "local", "path": "~/my.jsonl"}, "format": "jsonl"}
    mine = validate(Catalogue, {"corpora": {"mine": local}}, "config/assets.yaml")
    study, _ = load_study(ROOT / "config/studies/draws.yaml", catalogue)
    job = fetch_job(files_of(study, "draws", mine), "corpora/mine")
    assert job.inputs["local"] == [str(tmp_path / "my.jsonl")]


def test_a_method_in_steps_scores_what_the_plan_before_has_left(catalogue: Catalogue) -> None:
    files = files_of(changed(small()), "s", catalogue)
    jobs = [*list_jobs(files)]
    steps = [job for job in jobs if job.rule == "score_step"]
    assert [job.at["step"] for job in steps] == ["2", "3"]
    for job in steps:
        (before,) = job.inputs["plan"]
        assert before.endswith(f"plan{int(job.at['step']) - 1}.safetensors") and before in outputs(jobs)
    parts = [job.config.part for job in jobs if job.rule in ("plan_step", "plan") and "entropy" in job.about]
    assert parts == [0.333333, 0.666667, 1.0]
    (last,) = [job for job in jobs if job.rule == "plan" and "entropy" in job.about]
    assert last.inputs["scores"] == [
        "results/s/steps/smollm2-135m-instruct-q4/entropy/0.2/seed0/scores3.safetensors"
    ]
    assert last.ancient == ("resampled",), "its scores are made for this plan alone"
    (plain,) = [job for job in jobs if job.rule == "plan" and "magnitude" in job.about]
    assert plain.ancient == ("scores", "resampled")


def test_a_baselines_checkpoint_is_adopted_before_it_is_measured(catalogue: Catalogue) -> None:
    jobs = [*list_jobs(files_of(changed(small()), "s", catalogue))]
    folder = "results/s/checkpoints/smollm2-135m-instruct-q4/outside/0.2/seed0"
    (adopted,) = [job for job in jobs if job.rule == "adopt"]
    assert adopted.inputs["pruned"] == [folder] and str(adopted.config.checkpoint) == folder
    (measured,) = [job for job in jobs if job.stage == "measure" and "outside" in job.about]
    assert {folder, *adopted.outputs["size"]} <= {*measured.inputs["cells"]}


def test_a_measured_dtype_is_filled_in_where_models_are_read(catalogue: Catalogue) -> None:
    jobs = [*list_jobs(files_of(changed(small()), "s", catalogue))]
    for job in jobs:
        # Plans are cut anew with scores of another dtype.
        reads = job.stage in ("score", "plan", "recover", "measure")
        assert (job.inputs.get("dtype") == ["results/s/dtype.json"]) == reads, job.rule
        assert "dtype" not in json.loads(job.settings())


def test_what_decides_about_scores_is_in_the_file_of_the_method(catalogue: Catalogue) -> None:
    plain = method_settings(files_of(changed(small()), "s", catalogue), "entropy")
    for change in (
        {"calibration": small()["calibration"] | {"resamples": 3}},
        {"dtype": "float32"},
        {"methods": STEPS | {"entropy": {"options": {"aggregation": "sum_squares"}, "steps": 3}}},
        {"methods": STEPS | {"entropy": {"sequences": 8, "steps": 3}}},
    ):
        assert method_settings(files_of(changed(small(), **change), "s", catalogue), "entropy") != plain, (
            change
        )


def test_a_bias_of_a_method_is_solved_beside_a_linear_recovery_and_taken_in_every_other(
    catalogue: Catalogue,
) -> None:
    """The methods of `docs/criteria.md`, as they stand there, beside one without a bias."""
    page = (ROOT / "docs/criteria.md").read_text()
    (block,) = [x for x in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "flap_whole" in x]
    methods = yaml.safe_load(block)["methods"]
    calibration = {"corpus": "c4-sample", "sequences": 32, "length": 64, "resamples": 2}
    given = {
        "models": ["smollm2-135m-instruct-q4"],
        "methods": {"entropy": None} | methods,
        "ratios": [0.2],
        "recoveries": ["none", "linear", "lora"],
        "recovery": {"instructions": "coqa"},
        "calibration": calibration,
        "measures": {"fidelity": {"corpus": "c4-sample-heldout", "sequences": 2, "length": 64}},
    }
    study = validate(Study, given, "study")
    assert study.methods["llm_pruner"].allocation.spare == (4, 2)
    jobs = [*list_jobs(files_of(study, "whole", catalogue))]
    solving = {job.cells: job for job in jobs if job.stage == "linear"}
    by_kind = {cells[0].recovery: (cells, job) for cells, job in solving.items()}
    assert {cell.method for cell in by_kind["linear"][0]} == {*study.methods}
    assert {cell.method for cell in by_kind["bias"][0]} == {"flap_whole"}
    config = by_kind["bias"][1].config
    assert (config.ridges, config.bias) == ([math.inf], True)
    assert json.loads(by_kind["bias"][1].settings())["ridges"] == ["inf"]
    taken = {
        (job.cells[0].method, job.cells[0].recovery): (job.config.cells[0], job.inputs["cells"])
        for job in jobs
        if job.stage == "measure"
    }
    for (method, recovery), (cell, inputs) in taken.items():
        kind = "linear" if recovery == "linear" else "bias" if method == "flap_whole" else ""
        assert (cell.linear.name if cell.linear else "") == kind, (method, recovery)
        assert sum(f"/{kind}/linear.safetensors" in file for file in inputs) == bool(kind)
        assert bool(cell.resampled) == (recovery == "none" and method in ("entropy", "llm_pruner"))
    (trained,) = [job for job in jobs if job.stage == "recover" and job.cells[0].method == "flap_whole"]
    assert trained.config.linear.name == "bias"
    (budget,) = [job for job in jobs if job.stage == "budget"]
    assert dict(zip(map(len, budget.config.units), budget.config.spare, strict=False)) == {1: 0, 2: 6}
