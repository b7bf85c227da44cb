"""Prune models of the paper's sizes, with random weights, by the commands of the suite, and watch what they take.

Writes `sizes.md`: peak memory and operations of every command, beside those of the cost model, and its time. A
model that this machine cannot hold thrice is cut to as many layers as it can.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import takewhile
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psutil
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from hfprune.cost.speed import PROCESS
from hfprune.criteria.entropy import Entropy
from hfprune.evaluation.work import Case, Work
from hfprune.measures.fidelity import Fidelity
from hfprune.measures.perplexity import Perplexity
from hfprune.models.shape import known_configs, known_shapes
from hfprune.results import read_result

HERE = Path(__file__).parent
MODELS = ["llama-3.2-1b", "qwen2.5-1.5b", "qwen3-1.7b", "llama-3.2-3b", "llama-2-7b", "qwen2.5-7b"]
TEXT = "c4-sample-heldout"
SEQUENCES, LENGTH = 2, 512
# The share of the free memory that the weights may take.
SHARE = 0.3


NOTE = """`make check-sizes` wrote this table: the commands on models of the published configurations with random
bfloat16 weights. Peak memory is the resident memory of the process, libraries included. Operations are those that
the results record, counted from what the models read; tests compare that count with `torch.utils.flop_counter`."""


class Ran(NamedTuple):
    """What one command took."""

    seconds: float
    peak: int
    """Bytes of resident memory."""


def main() -> None:
    """Check the models named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)} (all)")
    parser.add_argument(
        "--resources", type=Path, default=Path("resources"), help="folder of the fetched assets"
    )
    parser.add_argument("--out", type=Path, default=HERE / "sizes.md")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.models if name not in MODELS]:  # argparse's `choices` refuses none
        parser.error(f"unknown model {unknown[0]!r}; known: {', '.join(MODELS)}")
    rows = []
    for name in chosen.models or MODELS:
        with tempfile.TemporaryDirectory(prefix="hfprune-sizes-") as folder:
            rows += check(name, Path(folder), chosen.resources)
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    chosen.out.write_text(f"# Models of the paper's sizes\n\n{NOTE}\n\n{table}\n")


def check(name: str, folder: Path, resources: Path) -> list[dict[str, Any]]:
    """Run every command on one model; return a row for each."""
    layers, model = fitting_layers(name), folder / "model"
    # In a process of its own: the system counts the memory of this one to the commands that it starts.
    builder = get_context("spawn").Process(target=build, args=(name, layers, model))
    builder.start()
    builder.join()
    if builder.exitcode:
        raise SystemExit(f"{name}: cannot build it")
    blocks = torch.randint(0, 256, (SEQUENCES, LENGTH), dtype=torch.int32)
    save_file({"tokens": blocks}, folder / "blocks.safetensors")
    plan, scores, pruned = folder / "plan.safetensors", folder / "scores.safetensors", folder / "pruned"
    dense = ["--model", model]
    text = ["--corpus", resources / "corpora" / TEXT, "--sequences", 2, "--length", 256]
    text += ["--dtype", "bfloat16", "--out", folder]
    read = ["--blocks", folder / "blocks.safetensors", "--dtype", "bfloat16", "--criterion", "entropy"]
    commands: dict[str, list[Any]] = {
        "budget": ["budget", *dense, "--ratios", 0.2],
        "score": ["score", *dense, *read, "--out", scores],
        "plan": ["plan", *dense, "--scores", scores, "--ratio", 0.2, "--out", plan],
        "slice, fidelity": ["measure", "fidelity", *dense, "--plan", plan, *text],
        "slice, export": ["export", *dense, "--plan", plan, "--out", pruned],
        "reload": ["measure", "perplexity", "--model", pruned, *text],
    }
    expected, rows = predicted(name, layers), []
    for step, command in commands.items():
        ran, work = run(["hfprune", *map(str, command)]), expected.get(step)
        found = recorded_flops(folder, step)
        rows.append(
            {
                "model": name,
                "layers": f"{layers} of {known_shapes()[name].layers}",
                "step": step,
                "command": f"`{' '.join(takewhile(lambda word: word not in dense, command))}`",
                "peak memory, GB": f"{ran.peak / 1e9:.2f}",
                "by the cost model, GB": f"{(PROCESS + work.memory) / 1e9:.2f}" if work else "–",
                "TFLOPs": f"{found / 1e12:.3f}" if found else "–",
                "by the cost model, TFLOPs": f"{work.flops / 1e12:.3f}" if work else "–",
                "seconds": round(ran.seconds),
            }
        )
        print(*rows[-1].values(), sep="  ", file=sys.stderr, flush=True)
    return rows


def recorded_flops(folder: Path, step: str) -> float | None:
    """Return the operations that the result of a step records, if it reads the model."""
    results = {"score": "scores", "slice, fidelity": "fidelity", "reload": "perplexity"}
    if step not in results:
        return None
    return read_result(folder / f"{results[step]}.json")["provenance"]["cost"]["flops"]


def predicted(name: str, layers: int) -> dict[str, Work]:
    """Return the work that the cost model expects, by step."""
    shape = replace(known_shapes()[name], layers=layers)
    case = Case(shape, "bfloat16", on_gpu=False, room=psutil.virtual_memory().total)
    cut = replace(case, shape=shape.pruned(0.2), dense=shape)
    text: dict[str, Any] = {"corpus": TEXT, "sequences": 2, "length": 256}
    return {
        "score": case.score({"entropy": Entropy()}, SEQUENCES, LENGTH, ["neurons"]),
        "slice, fidelity": Fidelity(**text).work(cut),
        "reload": Perplexity(**text).work(replace(cut, dense=None)),
    }


def fitting_layers(name: str) -> int:
    """Return how many layers of a model the memory that is free here may hold thrice."""
    shape = known_shapes()[name]
    layer = 2 * (shape.attention_weights + shape.mlp_weights)
    rest = shape.weights(2) - shape.layers * layer
    return int(min(shape.layers, max(1, (SHARE * psutil.virtual_memory().available - rest) // layer)))


def build(name: str, layers: int, folder: Path) -> None:
    """Write a model of the published configuration, with random bfloat16 weights."""
    config = AutoConfig.for_model(
        **known_configs()[name] | {"num_hidden_layers": layers, "dtype": "bfloat16"}
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.fill_(1) if "norm" in key else weight.normal_(0, 0.02, generator=generator)
    model.tie_weights()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each byte, for which every vocabulary has room."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=letters[0])


def run(command: list[str]) -> Ran:
    """Run a command to its end; fail if it does."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return Ran(time.perf_counter() - start, usage.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
