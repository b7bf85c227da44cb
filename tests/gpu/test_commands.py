"""Every command that computes, on the CPU and on simulated GPUs: numbers agree."""

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gpu.conftest import FEW, UNITS
from gpu.simulator import Machine
from safetensors.numpy import load_file

from hfprune.criteria import CRITERIA

pytestmark = pytest.mark.thorough

FORMS = ("param_first", "param_second", "param_mix", "vectorize", "joint", "sum_squares", "signed_sequence")
METHODS = {form: {"criterion": "cross_entropy", "options": {"aggregation": form}} for form in FORMS} | {
    "bf16": {"criterion": "entropy", "options": {"accumulator": "bfloat16"}},
    "range": {"criterion": "magnitude", "options": {"definition": "range"}},
    "variance": {"criterion": "magnitude", "options": {"definition": "variance"}},
}
EVERY = " ".join(name for name in CRITERIA.sources() if name != "block_influence")
GRADIENTS = "entropy cross_entropy distillation fisher"
MODEL, BLOCKS = "--model llama", "--blocks blocks.safetensors"
SCORE, PLAN = f"score {MODEL} {BLOCKS}", f"{MODEL} --plan plan.safetensors"
TEXT = "--corpus heldout --sequences 4 --length 32"
CELLS = {
    "model": "llama",
    "measures": {
        "fidelity": {"corpus": "heldout", "sequences": 4, "length": 32},
        "zeroshot": {"tasks": ["piqa"]},
    },
    "cells": [
        {"out": "OUT/a", "plan": "plan.safetensors", "resampled": "plan.resampled.safetensors"},
        {"out": "OUT/b", "plan": "global.safetensors"},
    ],
}
LORA = f"--instructions resources/instructions/pairs --options '{json.dumps(FEW)}'"
SPEED = "--prompt-tokens 16 --batch 2 --new-tokens 4 --repeats 3 --out OUT"
MANY = "--out OUT/{method}.safetensors"
RESAMPLED = "--resampled plan.resampled.safetensors"
FACTS = '{"facts":["facts"]}'
PRUNE = "--ratio 0.15 --text text --sequences 8 --length 32 --linear --no-compare --dtype float32"
# Commands; what stands behind the bar is for GPUs alone.
CALLS = {
    "score all": f"{SCORE} --criterion {EVERY} --resamples 3 {MANY}",
    "score all of qwen2": f"score --model qwen2 {BLOCKS} --criterion {EVERY} {MANY}",
    "score all of qwen3": f"score --model qwen3 {BLOCKS} --criterion {EVERY} {MANY}",
    "score units": f"{SCORE} --criterion {GRADIENTS} random --units '{UNITS}' {MANY}",
    "score layers": f"{SCORE} --criterion block_influence --units layers --out OUT/s.safetensors",
    "score forms": f"{SCORE} --methods '{json.dumps(METHODS)}' {MANY}",
    "score bfloat16": f"{SCORE} --criterion entropy distillation --dtype bfloat16 {MANY}",
    "score some": f"{SCORE} --criterion entropy distillation taylor magnitude wanda {MANY}",
    "score step": f"{SCORE} --plan part.safetensors --criterion entropy --out OUT/s.safetensors",
    "linear": f"linear {PLAN} {BLOCKS} --out OUT/solved",
    "linear with a bias": f"linear {PLAN} {BLOCKS} --ridges inf --out OUT/solved",
    "fidelity": f"measure fidelity {PLAN} {RESAMPLED} {TEXT} --out OUT",
    "fidelity of units": f"measure fidelity {MODEL} --plan units.safetensors {TEXT} --out OUT",
    "perplexity": f"measure perplexity {PLAN} --linear solved {TEXT} --out OUT",
    "perplexity recovered": f"measure perplexity {PLAN} --adapter adapter {TEXT} --out OUT",
    "zeroshot": f"measure zeroshot {PLAN} --tasks piqa arc_easy crows_pairs_english --out OUT",
    "gold_bpb": f"measure gold_bpb {PLAN} --groups '{FACTS}' --out OUT",
    "latency": f"measure latency {PLAN} {SPEED}",
    "cost": f"measure cost {MODEL} {BLOCKS} --criterion entropy --sequences 4 --repeats 2 --out OUT",
    "distributions": f"measure distributions {MODEL} {TEXT} --out OUT",
    "cells": f"measure --settings '{json.dumps(CELLS)}'",
    "recover": f"recover {PLAN} {LORA} --out OUT/adapter",
    "recover solved": f"recover {PLAN} --linear solved {LORA} --out OUT/adapter",
    "export": f"export {PLAN} --adapter adapter --out OUT/model",
    "prune": f"prune {MODEL} {PRUNE} --out OUT/pruned",
}
SCORED = ("score some", "score units", "score step")
MEASURED = ("linear", "fidelity", "perplexity", "perplexity recovered", "zeroshot", "latency")
CALLS |= {f"{name} on two": f"{CALLS[name]} | --device-map auto" for name in (*SCORED, *MEASURED)}
# Sums in bfloat16 depend on the batch; losses are those of the float32 logits of another batch.
LOOSE = {"score bfloat16": 0.05, "recover": 2e-3, "recover solved": 2e-3}
# What no other machine repeats.
OWN = ("seconds", "bytes", "tokens_per_second", "speedup", "operations", "dtype", "flops")


@pytest.mark.parametrize("name", CALLS)
def test_a_gpu_gives_the_numbers_of_the_cpu(
    name: str, cpu: Machine, gpus: Machine, project: Path, tmp_path: Path
) -> None:
    plain, _, more = CALLS[name].partition(" | ")

    def run(machine: Machine, flags: str) -> Any:
        out = tmp_path / ("gpu" if machine.folder else "cpu")
        out.mkdir()
        words = shlex.split(flags.replace("OUT", str(out)))
        return machine.call(*words, here=project, SIMCUDA_DEVICES="2" if more else "1")

    with ThreadPoolExecutor() as pool:  # one on each core
        ours = pool.submit(run, gpus, f"{plain} {more}")
        theirs = pool.submit(run, cpu, plain)
        theirs.result()
        call = ours.result()
    assert call.contexts == ({0, 1} if more else {0}), "it computes there, and nowhere else"
    gaps = different(tmp_path / "cpu", tmp_path / "gpu", LOOSE.get(name, 1e-4))
    assert not gaps, "; ".join(gaps[:5])


def different(cpu: Path, gpu: Path, loose: float) -> list[str]:
    found, seen = [], 0
    for path in sorted(cpu.rglob("*")):
        if path.suffix not in (".safetensors", ".parquet", ".json"):
            continue
        name = path.relative_to(cpu)
        ours, theirs = numbers(gpu / name), numbers(path)
        seen += len(theirs)
        if ours.keys() != theirs.keys():
            found.append(f"{name}: {ours.keys() ^ theirs.keys()}")
        for key in ours.keys() & theirs.keys():
            a, b = theirs[key], ours[key]
            scale = np.abs(a[np.isfinite(a)]).mean() if np.isfinite(a).any() else 0
            if a.shape != b.shape or not np.allclose(b, a, rtol=loose, atol=loose * scale, equal_nan=True):
                found.append(f"{name} {key}: {a.shape} {a.flat[:3]}, on the GPU {b.shape} {b.flat[:3]}")
    return found if seen else ["no numbers to compare"]


def numbers(path: Path) -> dict[str, np.ndarray]:
    """Return the numbers in a file by name, but those that are the machine's own."""
    if path.suffix == ".safetensors":
        return {key: x.astype(np.float64) for key, x in load_file(path).items()}
    if path.suffix == ".parquet":
        table = pd.read_parquet(path).select_dtypes(["number", "bool"])
        return {key: table[key].to_numpy(float) for key in table if not any(word in key for word in OWN)}
    found = json.loads(path.read_text())
    if not isinstance(found, dict) or "values" not in found:
        return {}
    values = {value["metric"]: np.array(value["value"], float) for value in found["values"]}
    values = {metric: x for metric, x in values.items() if not any(word in metric for word in OWN)}
    losses = found["provenance"].get("losses")
    return values | ({"losses": np.array(losses)} if losses else {})


@pytest.mark.parametrize("model", ["llama", "qwen2", "qwen3"])
def test_in_bfloat16_a_gpu_trains_as_near_to_float32_as_the_cpu(
    model: str, cpu: Machine, gpus: Machine, project: Path, tmp_path: Path
) -> None:
    """Their autocasts round at different places, so that the adapters differ; neither is the better one.

    Adam makes a whole step of the sign of a gradient that rounding hides, on both.
    """
    runs = {"exact": (cpu, "float32"), "cpu": (cpu, "bfloat16"), "gpu": (gpus, "bfloat16")}
    trained = {}
    pairs = ("--instructions", "resources/instructions/pairs")
    options = ("--options", json.dumps(FEW | {"max_steps": 2, "held_out": 0}))
    for name, (machine, dtype) in runs.items():
        trains = ("recover", "--model", model, *pairs, *options, "--dtype", dtype)
        machine.call(*trains, "--out", tmp_path / name, here=project)
        adapter = load_file(tmp_path / name / "adapter_model.safetensors")
        trained[name] = np.concatenate([x.ravel() for key, x in adapter.items() if "lora_B" in key])
    gaps = {name: np.abs(trained[name] - trained["exact"]).mean() for name in ("cpu", "gpu")}
    off = {name: float(gap / np.abs(trained["exact"]).mean()) for name, gap in gaps.items()}
    assert 0 < off["gpu"] < 1.25 * off["cpu"] < 0.02


def test_commands_that_need_no_gpu_open_none(gpus: Machine, project: Path, tmp_path: Path) -> None:
    """Snakemake runs many of them at once; each context takes half a GB, or the card in exclusive mode."""
    text = ("--corpus", "text", "--sequences", 4, "--length", 32)
    plan = ("--scores", "scores.safetensors", "--ratio", 0.15, "--out", tmp_path / "plan.safetensors")
    pairs = ("--instructions", "resources/instructions/pairs", "--length", 320)
    for command in (
        ("calibrate", "--model", "llama", *text, "--out", tmp_path / "blocks.safetensors"),
        ("plan", "--model", "llama", *plan),
        ("pack", "--model", "llama", *pairs, "--out", tmp_path / "pairs.safetensors"),
        ("adopt", "--model", "llama", "--plan", "plan.safetensors", "--ratio", 0.15,
         "--out", tmp_path / "it.json"),
        ("methods",),
        ("budget", "--model", "llama", "--ratios", 0.15),
    ):  # fmt: skip
        call = gpus.call(*command, here=project, check=False)
        assert call.code == 0, (command, call.said[-500:])
        assert call.contexts == set(), command
