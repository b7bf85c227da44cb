"""Linear recovery in a study, alone and before an adapter, beside none."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import run
from smoke import STUDY, change, jobs, snakemake

from hfprune.results.reader import Results

CELL = "llama/{method}/text/6/0.15/draw0/{recovery}"


@pytest.fixture(scope="module")
def project(finished: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linear") / "project"
    shutil.copytree(finished[0], folder, copy_function=shutil.copy2)
    change(
        folder / "config/studies/smoke.yaml",
        models=["llama"],
        methods={name: STUDY["methods"][name] for name in ("entropy", "random")},
        recoveries=["none", "linear", ["linear", "lora"]],
        measures={name: STUDY["measures"][name] for name in ("fidelity", "perplexity")},
    )
    return folder


def test_it_is_solved_once_for_all_plans_and_measured_beside_none(project: Path, tmp_path: Path) -> None:
    done = jobs(snakemake(project, "effects"))
    # One pass for both plans; entropy's cell gets an adapter, and so does the dense model, as the control.
    assert done["linear_0"] == 1 and done["recover"] == 1
    results = project / "results/smoke"
    tidy = Results(results).tidy
    measured = tidy[tidy["measure"].isin(["fidelity", "perplexity"])]
    assert {*measured[["method", "recovery"]].itertuples(index=False, name=None)} == {
        *(("dense", recovery) for recovery in ("none", "lora")),
        *(("entropy", recovery) for recovery in ("none", "linear", "linear+lora")),
        *(("random", recovery) for recovery in ("none", "linear")),
    }
    folder = results / "recoveries" / CELL.format(method="entropy", recovery="linear")
    solved = json.loads((folder / "recovery.json").read_text())
    values = {value["metric"]: value for value in solved["values"]}
    assert values["lost_output_left"]["n"] == 3, "one solve a layer"
    assert set(solved["provenance"]["inputs"]) == {"model", "blocks", "plan"}
    assert "Nothing to be done" in snakemake(project, "effects")

    # By hand, the same model: reconstructed, and exported.
    plan, blocks = (
        results / f"{name}/draw0.safetensors"
        for name in ("plans/llama/entropy/text/6/0.15", "calibration/llama/text")
    )
    pruned = ("--model", project / "resources/models/llama", "--plan", plan, "--dtype", "float32")
    run("linear", *pruned, "--blocks", blocks, "--out", tmp_path / "solved")
    run("export", *pruned, "--linear", tmp_path / "solved", "--out", tmp_path / "out")
    text = ("--corpus", project / "resources/corpora/heldout", "--sequences", 4, "--length", 32)
    run("measure", "perplexity", "--model", tmp_path / "out", *text, "--out", tmp_path / "exported")
    cell = results / "cells" / CELL.format(method="entropy", recovery="linear")
    ours, theirs = (
        json.loads((folder / "perplexity.json").read_text())["values"][0]["value"]
        for folder in (tmp_path / "exported", cell)
    )
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_a_method_that_joins_trains_no_adapter_again(project: Path) -> None:
    snakemake(project, "effects")
    recoveries = project / "results/smoke/recoveries"
    file = recoveries / CELL.format(method="entropy", recovery="linear+lora") / "adapter_model.safetensors"
    before = file.stat().st_ino  # Snakemake touches what a job has left as it was
    study = project / "config/studies/smoke.yaml"
    known = {name: STUDY["methods"][name] for name in ("entropy", "random")}
    change(study, methods=known | {"joined": {"criterion": "wanda"}})
    snakemake(project, "effects")
    joined = recoveries / CELL.format(method="joined", recovery="linear")
    assert (joined / "recovery.json").exists(), "it was solved"
    assert file.stat().st_ino == before
    assert "Nothing to be done" in snakemake(project, "effects")
