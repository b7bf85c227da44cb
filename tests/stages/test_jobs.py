"""The jobs of a study: every file has one origin, and what the study collects."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from smoke import ROOT

from hfprune.assets.catalogue import Catalogue
from hfprune.settings import load, validate
from hfprune.stages import Stage
from hfprune.stages.fetch import Fetch
from hfprune.stages.jobs import collected, list_jobs
from hfprune.study import paths
from hfprune.study.files import Files, method_settings
from hfprune.study.references import load_study
from hfprune.study.study import Study

CATALOGUE = load(Catalogue, ROOT / "config/assets.yaml")
STUDIES = sorted((ROOT / "config/studies").glob("*.yaml"))
METHODS = {"entropy": None, "magnitude": None, "outside": {"baseline": "outside"}}


def files_of(
    study: Study, name: str = "s", catalogue: Catalogue = CATALOGUE, cells_per_job: int = 1
) -> Files:
    made = {one.baseline: "checkpoint" for one in study.methods.values() if one.baseline}
    return Files(name, study, catalogue, made, cells_per_job)


def listed(study: Study, stage: str = "") -> list[Stage]:
    return [job for job in list_jobs(files_of(study)) if stage in ("", job.stage)]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("cells_per_job", [1, 4])
def test_every_file_has_one_job_and_every_job_its_inputs_before_it(path: Path, cells_per_job: int) -> None:
    """And a job is what its JSON says."""
    study, catalogue = load_study(path, CATALOGUE)
    files = files_of(study, path.stem, catalogue, cells_per_job)
    written = {files.record(paths.METHOD, method=name) for name in study.methods}
    for job in list_jobs(files):
        assert {*job.ancient()} <= {*job.inputs()} <= written, job.about()
        outputs = job.outputs()
        assert outputs and not written & {*outputs}
        written.update(outputs)
        again = validate(type(job), json.loads(job.to_json()), job.stage)
        assert again.to_json() == job.to_json()
        assert ({*again.inputs()}, {*again.outputs()}) == ({*job.inputs()}, {*outputs})


CALIBRATION = {"corpus": "c4-sample", "sequences": 16, "length": 32}
PERPLEXITY = {"corpus": "c4-sample-heldout", "sequences": 2, "length": 16}


def small(**changes: object) -> Study:
    study = {
        "models": ["smollm2-135m-instruct-q4"],
        "methods": METHODS,
        "ratios": [0.2],
        "calibrations": {"c4": CALIBRATION},
        "resamples": 2,
        "measures": {"perplexity": PERPLEXITY},
    }
    return validate(Study, study | changes, "s")


def test_what_is_collected_is_of_cells_and_nothing_that_leads_to_them() -> None:
    lora = {
        "recoveries": ["none", "linear+lora"],
        "recovery": {"instructions": "coqa", "methods": ["entropy"]},
    }
    files = files_of(small(**lora))
    found = [str(file.relative_to("results/s")) for file in collected(files, list_jobs(files))]
    at = "smollm2-135m-instruct-q4/{}/draw0"
    scored = ("entropy/c4/16", "magnitude/c4/0")
    cuts = [f"scores/{at.format(name)}" for name in scored]
    cuts += [f"plans/{at.format(f'{name}/0.2')}" for name in scored]
    tuned = [f"{at.format(cell)}" for cell in ("entropy/c4/16/0.2", "dense/none/0/0")]
    pruned = [f"{name}/0.2" for name in (*scored, "outside/c4/0")]
    cells = [f"cells/{at.format(cell)}/none" for cell in ("dense/none/0/0", *pruned)]
    cells += [f"cells/{tuned[0]}/linear+lora", f"cells/{tuned[1]}/lora"]
    assert sorted(found) == sorted(
        [
            *(f"{cut}{end}" for cut in cuts for end in (".json", ".safetensors", ".resampled.safetensors")),
            f"plans/{at.format('outside/c4/0/0.2')}.json",
            *(f"recoveries/{place.removeprefix('cells/')}/recovery.json" for place in cells[-2:]),
            *(f"{cell}/perplexity.{end}" for cell in cells for end in ("json", "parquet")),
        ]
    )


def test_what_measures_time_is_timed_and_nothing_else() -> None:
    """So that nothing runs beside it, whatever a machine's GPUs."""
    study, catalogue = load_study(ROOT / "config/studies/demo.yaml", CATALOGUE)
    timed = [job for job in list_jobs(files_of(study, catalogue=catalogue)) if job.timed]
    assert {(job.stage, *job.measures) for job in timed} == {("measure", "latency"), ("measure", "cost")}


def test_a_local_file_in_the_home_folder_is_an_input(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.jsonl").write_text("{}")
    local = {"source": {"provider": "local", "path": "~/my.jsonl"}, "format": "jsonl"}
    job = validate(Fetch, {"entries": {"corpora": {"mine": local}}}, "fetch")
    assert job.inputs() == [tmp_path / "my.jsonl"]
    assert job.outputs() == [Path("resources/corpora/mine/asset.json")]


def test_a_method_is_budgeted_at_its_own_ratios_alone() -> None:
    groups = {"criterion": "entropy", "units": "key_value_groups", "ratios": [0.3]}
    jobs = listed(small(methods={"entropy": None, "groups": groups}, ratios=[0.2, 0.3]), "budget")
    neurons, groups = {"neurons": None}, {"key_value_groups": None}
    assert [job.units for job in jobs] == [[neurons], [groups, neurons]]


def test_a_baselines_checkpoint_is_adopted_before_it_is_measured() -> None:
    jobs = listed(small())
    folder = Path("results/s/checkpoints/smollm2-135m-instruct-q4/outside/c4/0/0.2/draw0")
    (adopted,) = [job for job in jobs if job.stage == "adopt"]
    assert adopted.checkpoint == folder and folder in adopted.inputs()
    (measured,) = [job for job in jobs if job.stage == "measure" and "outside" in job.about()]
    assert {folder, *adopted.outputs()} <= {*measured.inputs()}


@pytest.mark.parametrize(
    "change",
    [
        {"resamples": 3},
        {"dtype": "float32"},
        {"methods": METHODS | {"entropy": {"options": {"aggregation": "sum_squares"}}}},
    ],
)
def test_what_decides_about_scores_is_in_the_file_of_the_method(change: dict) -> None:
    plain, other = (method_settings(files_of(study), "entropy") for study in (small(), small(**change)))
    assert plain != other


def test_another_calibration_or_size_leaves_the_file_of_a_method_as_it_is() -> None:
    """So that what is scored stays; what is not resampled decides about the scores' files."""
    sized = {"calibrations": {"c4": CALIBRATION | {"sizes": {4: 3}}}}
    several = {"calibrations": {"c4": CALIBRATION, "other": CALIBRATION}}

    def settings(resamples: int, **change: object) -> str:
        study = small(methods=["entropy"], resamples=resamples, **change)
        return method_settings(files_of(study), "entropy")

    assert settings(0) == settings(0, **sized) == settings(0, **several)
    assert settings(3) == settings(3, **several) != settings(3, **sized), "three samples are not resampled"


def test_what_a_study_says_beyond_a_stage_makes_no_job_stale() -> None:
    """Settings are passed whole, but a job has only what its stage declares."""
    resampled = small(resamples=3)
    fewer = small(measures={"perplexity": PERPLEXITY | {"methods": ["entropy"]}})
    for stage, study, count in (("calibrate", resampled, 1), ("measure", fewer, 2)):
        before, after = ({job.to_json() for job in listed(one, stage)} for one in (small(), study))
        assert after <= before and len(after) == count


def test_only_blocks_that_the_model_writes_on_take_a_device_and_what_it_computes_in() -> None:
    written = small(calibrations={"c4": CALIBRATION | {"continued_after": 8}}, dtype="float16")
    (plain,), (job,) = listed(small(), "calibrate"), listed(written, "calibrate")
    assert (plain.takes, job.takes) == ("core", "device")
    more = {"continued_after": 8, "dtype": "float16"}
    assert json.loads(job.to_json()) == json.loads(plain.to_json()) | more


def test_a_bias_of_a_method_is_solved_beside_a_linear_recovery_and_taken_in_every_other() -> None:
    """The methods of `docs/criteria.md`, as they stand there, beside one without a bias."""
    page = (ROOT / "docs/criteria.md").read_text()
    (block,) = [x for x in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "flap_whole" in x]
    methods = yaml.safe_load(block)["methods"]
    study = small(
        methods={"entropy": None} | methods,
        recoveries=["none", "linear", "lora"],
        recovery={"instructions": "coqa"},
        measures={"fidelity": PERPLEXITY},
    )
    assert study.methods["llm_pruner"].allocation.spare == (4, 2)
    jobs = listed(study)
    solving = {job.named_cells()[0].recovery: job for job in jobs if job.stage == "linear"}
    assert {cell.method for cell in solving["linear"].named_cells()} == {*study.methods}
    assert {cell.method for cell in solving["bias"].named_cells()} == {"flap_whole"}
    assert solving["bias"].linear.ridges == [math.inf]
    assert json.loads(solving["bias"].to_json())["linear"]["ridges"] == ["inf"]
    for job in (job for job in jobs if job.stage == "measure"):
        (named,), (cell,) = job.named_cells(), job.cells
        method, recovery = named.method, named.recovery
        kind = "linear" if recovery == "linear" else "bias" if method == "flap_whole" else ""
        assert (cell.linear.name if cell.linear else "") == kind, (method, recovery)
        assert sum(f"/{kind}/linear.safetensors" in str(file) for file in job.inputs()) == bool(kind)
        assert bool(cell.resampled) == (recovery == "none" and method in ("entropy", "llm_pruner"))
    (trained,) = [job for job in jobs if job.stage == "recover" and "flap_whole" in job.about()]
    assert trained.linear.name == "bias"
    (budget,) = [job for job in jobs if job.stage == "budget"]
    assert dict(zip(map(len, budget.units), budget.spare, strict=False)) == {1: 0, 2: 6}
    assert Counter(job.stage for job in jobs)["pack"] == 1


def test_the_rivals_of_the_docs_are_whole_models_or_quantised_after_all_else(tmp_path: Path) -> None:
    """Nothing is cut or adopted for a whole model, whose folder is fetched before it is measured."""
    block = next(
        block
        for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.DOTALL)
        if "dense_4:" in block
    )
    path = tmp_path / "rivals.yaml"
    path.write_text(block)
    study, catalogue = load_study(path, CATALOGUE)
    jobs = [*list_jobs(files_of(study, catalogue=catalogue))]
    assert not [job for job in jobs if job.stage == "adopt"]
    assert {job.cell.method for job in jobs if job.stage == "plan"} == {"fisher", "fisher_8", "shortgpt"}
    smaller = Path("resources/models/qwen2.5-coder-0.5b-instruct-q4")
    assert [smaller / "asset.json"] in [job.outputs() for job in jobs]
    found = {}
    for job in jobs:
        for cell in job.cells if job.stage == "measure" else []:
            found[cell.cell.method] = cell.plan is not None, cell.instead, cell.quantised
            assert (smaller / "asset.json" in job.inputs()) == (cell.instead is not None)
    assert found == {
        "dense": (False, None, None),
        "fisher": (True, None, None),
        "fisher_8": (True, None, 8),
        "dense_8": (False, None, 8),
        "dense_4": (False, None, 4),
        "smaller": (False, smaller, None),
        "shortgpt": (True, None, None),
    }
