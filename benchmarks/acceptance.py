"""The first hour on a card: the suite's commands on random models made here, beside the cost model and the CPU.

Writes `gpu.md`: seconds, peak memory and utilisation of scoring, recovery, evaluation and latency of a 1B and
a 7B model beside the prediction for this card; the speed of widths that are no multiples of 8; and how far
the scores of a small model on the card are from those on the CPU. `--dry` takes small models.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from hfprune.cells import read_result
from hfprune.cost.workload import training_memory
from hfprune.criteria import make_criterion
from hfprune.devices.batches import training_tokens
from hfprune.devices.known import UTILISATION, Device, visible_device
from hfprune.measurement import MEASURES
from hfprune.models.shape import Shape, known_configs
from hfprune.scoring.fitting import ScoringCost

MODELS = ("llama-3.2-1b", "qwen2.5-7b")
CRITERIA = ("entropy", "distillation", "taylor")
# Sequences and their length in scoring and measures, and in a step of recovery.
SEQUENCES, LENGTH, STEPS, BATCH = 32, 1024, 8, 16
SMALL = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "vocab_size": 320, "head_dim": 16}
NOTE = """`make gpu-acceptance` wrote this file: random bfloat16 models of the published sizes. Predictions are
`hfprune cost`'s, which takes 40 % of the card's peak for granted."""

Run = Callable[[Sequence[str], Path, bool], None]


class Step(NamedTuple):
    """A command, its result, and what the cost model expects of it."""

    name: str
    command: list[Any]
    result: str
    """Its JSON file; none if it computes nothing."""
    flops: float = 0
    memory: float = 0


def main() -> None:
    """Run everything on this machine's card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(known_configs())} ({' '.join(MODELS)})")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("gpu.md"))
    parser.add_argument("--dry", action="store_true", help="small models")
    chosen = parser.parse_args()
    device = visible_device()
    if device is None:
        parser.error("the driver shows no GPU")
    with tempfile.TemporaryDirectory(prefix="hfprune-gpu-") as folder:
        text = accept(Path(folder), device, chosen.models or MODELS, dry=chosen.dry)
    chosen.out.write_text(text)


def hfprune(command: Sequence[str], folder: Path, on_gpu: bool) -> None:
    """Run a command in a process of its own."""
    environment = os.environ | ({} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""})
    subprocess.run([sys.executable, "-m", "hfprune", *command], cwd=folder, env=environment, check=True)


def accept(
    folder: Path, device: Device, models: Sequence[str], run: Run = hfprune, *, dry: bool = False
) -> str:
    """Return the text of `gpu.md`."""
    texts = [f"# On {device.name}", NOTE, f"torch {torch.__version__}, CUDA {torch.version.cuda}."]
    rows, speeds = [], []
    for name in models:
        place = folder / name
        shape = make(place, known_configs()[name] | (SMALL if dry else {}), "bfloat16")
        for step in steps(shape, device):
            run([*map(str, step.command)], place, True)
            if not step.result:
                continue
            rows.append({"model": name} | row(step, place, device))
            if step.name.startswith("latency"):
                values = measured(place / step.result)
                speeds.append({"model": name, "widths": step.name} | shown(values))
    place = folder / "small"
    make(place, known_configs()[models[0]] | SMALL, "float32")
    gaps = [gap(place, run, dtype) for dtype in ("float32", "bfloat16")]
    for title, table in (("Cost", rows), ("Widths", speeds), ("Beside the CPU", gaps)):
        texts += [f"## {title}", pd.DataFrame(table).to_markdown(index=False, disable_numparse=True)]
    return "\n\n".join(texts) + "\n"


def make(folder: Path, fields: dict[str, Any], dtype: str) -> Shape:
    """Write a model with random weights, and text, blocks and instruction pairs for it; return its shape."""
    config = AutoConfig.for_model(**fields | {"dtype": dtype})
    torch.manual_seed(0)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.to_empty(device="cpu")
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.fill_(1) if "norm" in key else weight.normal_(0, 0.02)
    model.tie_weights()
    model.save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    words = np.random.default_rng(0).integers(97, 123, (4 * SEQUENCES, 2 * LENGTH), dtype=np.uint8)
    lines = [bytes(line).decode() for line in words]
    (folder / "text.txt").write_text("\n".join(lines))
    pairs = [
        {"instruction": line[:40], "input": "", "output": line[40 : LENGTH // 2]}
        for line in lines
        for _ in "ab"
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    blocks = torch.randint(0, 256, (SEQUENCES, LENGTH), dtype=torch.int32)
    save_file({"tokens": blocks}, folder / "blocks.safetensors")
    return Shape.of_config(model.config.to_dict())


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each byte, for which every vocabulary has room."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=letters[0])


def steps(shape: Shape, device: Device) -> Iterator[Step]:
    """Yield what is run on a model, in this order."""
    cut, reading, read = shape.pruned(0.2), shape.reading("bfloat16", on_gpu=True), SEQUENCES * LENGTH
    dense, scores = ("--model", "model", "--dtype", "bfloat16"), "scores-{method}.safetensors"
    for number in (1, len(CRITERIA)):
        criteria = {name: make_criterion(name, {}) for name in CRITERIA[:number]}
        command = ["score", *dense, "--blocks", "blocks.safetensors", "--criterion", *criteria]
        scoring = ScoringCost(shape, criteria, ["neurons"], "bfloat16", device.memory)
        flops, memory = scoring.operations(read, LENGTH), scoring.peak(LENGTH * scoring.fitting(LENGTH))
        last = CRITERIA[number - 1]
        name = f"score: {', '.join(criteria)}"
        out = f"{number}-{scores}"
        yield Step(name, [*command, "--out", out], f"{number}-scores-{last}.json", flops, memory)
    for name, align in (("plan", 1), ("aligned", 8)):
        allocation = json.dumps({"rule": "uniform", "align": align})
        flags = ["--scores", "1-scores-entropy.safetensors", "--ratio", 0.2, "--allocation", allocation]
        yield Step("", ["plan", "--model", "model", *flags, "--out", f"{name}.safetensors"], "")
        settings = {"prompt_tokens": 256, "batch": 8, "new_tokens": 64, "repeats": 5}
        flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", value)]
        command = ["measure", "latency", *dense, "--plan", f"{name}.safetensors", *flags, "--out", name]
        tokens, width = MEASURES.make("latency", settings, "latency").tokens(), "multiples of 8"
        flops = cut.forward(tokens, LENGTH) + shape.forward(tokens, LENGTH)
        memory = reading + cut.weights("bfloat16")
        name = f"{name}/latency.json"
        yield Step(f"latency, {width if align > 1 else 'any'}", command, name, flops, memory)
    text: dict[str, Any] = {"corpus": "text.txt", "sequences": SEQUENCES, "length": LENGTH}
    for name in ("fidelity", "perplexity"):
        flags = [word for key, value in text.items() for word in (f"--{key}", value)]
        command = ["measure", name, *dense, "--plan", "plan.safetensors", *flags, "--out", "measured"]
        flops = cut.forward(read, LENGTH) + (name == "fidelity") * shape.forward(read, LENGTH)
        yield Step(name, command, f"measured/{name}.json", flops, reading)
    lora = {"length": LENGTH, "batch": BATCH, "max_steps": STEPS, "held_out": 0}
    command = ["recover", *dense, "--plan", "plan.safetensors", "--instructions", "pairs.jsonl"]
    command += ["--options", json.dumps(lora), "--out", "adapter"]
    flops = cut.forward(2 * STEPS * BATCH * LENGTH, LENGTH)
    memory = training_memory(cut, training_tokens(on_gpu=True), "bfloat16", on_gpu=True)
    yield Step("recover", command, "adapter/recovery.json", flops, memory)


def row(step: Step, folder: Path, device: Device) -> dict[str, str]:
    """Return what a step cost, beside the prediction."""
    cost = read_result(folder / step.result).provenance["cost"]
    at_peak = step.flops / device.bfloat16
    return {
        "step": step.name,
        "seconds": f"{cost['seconds']:.1f}",
        "predicted seconds": f"{at_peak / UTILISATION:.1f}",
        "peak, GB": f"{cost['peak_memory_bytes'] / 1e9:.2f}",
        "predicted peak, GB": f"{step.memory / 1e9:.2f}",
        "utilisation": f"{at_peak / cost['seconds']:.1%}",
    }


def shown(values: dict[str, float]) -> dict[str, str]:
    """Return the speeds of a latency measurement."""
    found = {name: f"{values[name]:.3f}" for name in ("prefill_speedup", "decode_speedup")}
    return found | {"prefill, ms": f"{1000 * values['prefill_seconds']:.2f}"}


def gap(folder: Path, run: Run, dtype: str) -> dict[str, str]:
    """Return how far a small model's scores and perplexity on the card are from those on the CPU."""
    found: dict[str, str] = {"dtype": dtype}
    for on_gpu in (False, True):
        side = f"{dtype}-{on_gpu}"
        flags = ["--model", "model", "--dtype", dtype]
        out = f"{side}-{{method}}.safetensors"
        score = ["score", *flags, "--blocks", "blocks.safetensors", "--batch-tokens", "4096"]
        run([*score, "--criterion", *CRITERIA, "--out", out], folder, on_gpu)
        text = ["--corpus", "text.txt", "--sequences", "8", "--length", "256", "--batch-tokens", "2048"]
        run(["measure", "perplexity", *flags, *text, "--out", side], folder, on_gpu)
    for name in CRITERIA:
        cpu, gpu = (load_file(folder / f"{dtype}-{on}-{name}.safetensors") for on in (False, True))
        gaps = [np.abs(gpu[key] - x).max() / np.abs(x).mean() for key, x in cpu.items()]
        found[f"{name}, of the mean"] = f"{max(gaps):.1e}"
    cpu, gpu = (measured(folder / f"{dtype}-{on}/perplexity.json")["perplexity"] for on in (False, True))
    return found | {"perplexity": f"{abs(gpu / cpu - 1):.1e}"}


def measured(path: Path) -> dict[str, float]:
    """Return the values of a result by metric."""
    return {value.metric: value.value for value in read_result(path).values}


if __name__ == "__main__":
    main()
