"""Models whose weights stay on disk: the same plans, solutions and files as from memory, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
from command_line import failure, run
from conftest import ARCHITECTURES, SHAPE, peaked
from safetensors.torch import load_file
from transformers import AutoConfig

from hfprune.models.load import load_model
from hfprune.models.on_disk import is_on_disk
from hfprune.plans.planning import apply_plan, load_plan
from hfprune.stages.measure import MeasureCells

METHODS = {
    "wanda": "",
    "flap": '--units \'["neurons", "key_value_groups"]\'',
    "magnitude": "",
    "block_influence": "--units layers",
}


def in_memory(model) -> list[str]:
    """Return the names of weights that lie in no file's pages."""
    spans = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if ".safetensors" in line:
            start, end = line.split()[0].split("-")
            spans.append(range(int(start, 16), int(end, 16)))
    return [name for name, x in model.named_parameters() if not any(x.data_ptr() in span for span in spans)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads where Linux has mapped files")
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_weights_stay_in_files_before_and_after_a_plan(architecture: str, tmp_path: Path, tokens) -> None:
    peaked(AutoConfig.for_model(architecture, **SHAPE | ARCHITECTURES[architecture])).save_pretrained(
        tmp_path
    )
    plain, model = load_model(tmp_path), load_model(tmp_path, device_map="disk")
    assert is_on_disk(model) and not is_on_disk(plain) and not in_memory(model)
    plan = {f"mlp.{layer}": torch.arange(40) for layer in range(3)}
    for each in (plain, model):
        apply_plan(each, plan)
    assert in_memory(plain) and not in_memory(model), "cut weights go back to disk"
    assert torch.equal(model(tokens).logits, plain(tokens).logits)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_scores_plan_solution_and_export(method: str, work: Path, tmp_path: Path) -> None:
    """Files of several batches and resamples, on blocks with marks within them."""
    blocks = tmp_path / "blocks.safetensors"
    run("calibrate --model mine --corpus corpora/text --sequences 20 --length 24 --out", blocks)
    for place, flags in (("memory", ""), ("disk", "--device-map disk")):
        at = tmp_path / place
        given = f"{METHODS[method]} --seed 1"
        sampled = "" if method == "magnitude" else f"--blocks {blocks} --batch-tokens 72 --resamples 2"
        run(
            f"score --model mine --criterion {method} {given} {sampled} {flags} --out",
            at / "scores.safetensors",
        )
        units = METHODS[method]
        run(
            f"plan --model mine --ratio 0.15 {units} --scores {at}/scores.safetensors --out",
            at / "plan.safetensors",
        )
        solved = ""
        if method != "block_influence":
            run(
                f"linear --model mine --plan {at}/plan.safetensors --blocks {blocks} {flags} --out",
                at / "solved",
            )
            solved = f"--linear {at}/solved"
        run(f"export --model mine --plan {at}/plan.safetensors {solved} {flags} --plain --out", at / "model")
    for name in ("scores", "plan", "solved/linear"):
        files = [tmp_path / place / f"{name}.safetensors" for place in ("memory", "disk")]
        if files[0].exists():
            memory, disk = map(load_file, files)
            assert memory.keys() == disk.keys()
            for key, expected in memory.items():
                torch.testing.assert_close(
                    disk[key], expected, rtol=1e-6 if method == "block_influence" else 0, atol=0
                )
    memory, disk = (tree(tmp_path / place / "model") for place in ("memory", "disk"))
    assert (
        memory["model.safetensors"] == disk["model.safetensors"]
        and memory["config.json"] == disk["config.json"]
    )
    assert memory.keys() == disk.keys()


def test_what_does_not_go_from_disk_is_refused_before_a_model_is_loaded(
    work: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("hfprune.models.load.read_folder", None)  # whoever loads fails otherwise
    score = f"score --model mine --blocks blocks.safetensors --device-map disk --out {tmp_path}/s.safetensors"
    line = failure(f"{score} --criterion entropy")
    assert "'entropy' takes gradients, which needs the whole model in memory: 0." in line
    assert (
        "sequence of 24 tokens. Leave out --device-map disk, or give a criterion that reads weights" in line
    )
    assert "'sleb' searches, which needs" in failure(f"{score} --criterion sleb --units layers")
    line = failure(f"{score} --criterion wanda --dtype bfloat16")
    assert "are float32 and are computed with as they are; give --dtype float32, not bfloat16" in line
    empty = shutil.copytree("mine", tmp_path / "empty", ignore=shutil.ignore_patterns("*.safetensors"))
    line = failure(f"{score} --criterion wanda --model {empty}")
    assert "it has no safetensors, or damaged ones" in line
    prune = f"prune --model mine --out {tmp_path}/out --ratio 0.2 --device-map disk"
    assert "give --quick (text only) or --no-compare" in failure(prune)
    assert "none of --tasks, --keep, --beside and --speedup" in failure(f"{prune} --quick --tasks arc_easy")
    assert "--recover trains on one device" in failure(f"{prune} --quick --recover")


def test_new_weights_need_a_folder_and_an_adapter_needs_memory(
    work: Path, tmp_path: Path, monkeypatch
) -> None:
    export = f"export --model mine --plan plan.safetensors --device-map disk --out {tmp_path}/out"
    assert "--adapter: merged weights are new weights" in failure(f"{export} --adapter adapter")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    assert "new weights do not fit there" in failure(export)
    assert not (tmp_path / "out").exists()
    model = load_model(work / "mine", device_map="disk")
    assert load_plan(work / "plan.safetensors")["mlp.0"].numel() < model.config.intermediate_size


def test_times_of_another_placement_are_measured_again(work: Path, tmp_path: Path, capfd) -> None:
    """So is the text, whose batches are of another size; what is of this placement is kept."""
    latency = {"prompt_tokens": 4, "batch": 1, "new_tokens": 2, "repeats": 1}
    fidelity = {"corpus": "text", "sequences": 2, "length": 8, "top_k": 3}
    cell = {"plan": "plan.safetensors", "out": str(tmp_path / "cell")}
    shared = {"model": "mine", "resources": ".", "cells": [cell]}
    shared["measures"] = {"latency": {"settings": latency}, "fidelity": {"settings": fidelity}}
    for device_map, kept in (("disk", []), (None, []), (None, ["fidelity", "latency"])):
        MeasureCells.model_validate(shared | {"device_map": device_map}).run()
        said = capfd.readouterr().err.splitlines()
        assert sorted(line.partition(":")[0] for line in said if "is already there" in line) == kept
