"""What a card holds of the paper's models: peaks of every kind of work, beside those of the cost model.

It runs on a simulated GPU (tests/gpu), which computes shapes and memory without numbers: it needs no card, and no
main memory. Writes `peaks.md`.
"""

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers.masking_utils
from transformers import AutoConfig, AutoModelForCausalLM

from hfprune.cost.costs import training_memory
from hfprune.criteria import make_criterion
from hfprune.devices.batches import training_tokens
from hfprune.evaluation.prefix_tree import PrefixTree
from hfprune.evaluation.timing import Timed
from hfprune.models.head import chunks, hidden_states, last_states
from hfprune.models.shape import known_configs, known_shapes
from hfprune.recoveries import Lora
from hfprune.recovery import lora
from hfprune.recovery.packing import Packed
from hfprune.scoring import sweep
from hfprune.scoring.fitting import ScoringCost
from hfprune.stages.score import score_as_fits

ROOT = Path(__file__).parents[1]
MODELS = ["llama-3.2-1b", "qwen2.5-1.5b", "qwen3-1.7b", "llama-3.2-3b", "llama-2-7b", "qwen2.5-7b"]
CARDS = {"llama-3.2-1b": (24, 80), "qwen2.5-1.5b": (24, 80)}  # GB: those of `paper-small` fit on 24, too
# The criteria of `paper`, which share passes; and criteria alone.
SWEEPS = {
    "score: those of `paper`": ("entropy", "cross_entropy", "distillation", "sdmprune", "taylor"),
    "score: entropy": ("entropy",),
    "score: taylor": ("taylor",),
}
NOTE = """`make check-sizes` wrote this table, by `benchmarks/peaks.py`: bfloat16 models of the published
sizes on a simulated GPU, which counts every tensor but computes no numbers. Scoring reads 64 sequences of
1,024 tokens, 16 at a time or as many as the cost model says that the card holds; *tries* counts the one that
fitted and those before it, which ran out of memory. Fragmentation, the workspaces of kernels and the CUDA
context (some 0.5 GB) are not in it. Zero-shot reads 32 questions of 192 tokens at a time, each a tree with
32 choices of 10. Decoding adds 64 tokens to 8 prompts of 512. Recovery takes one step of four
sequences, else with the official settings."""


def main() -> None:
    """Start this program again, with the simulated GPU, for every model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)} (all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("peaks.md"))
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from gpu.simulator import build

    simulator, rows = str(build()), []
    for name in chosen.models or MODELS:
        for card in CARDS.get(name, (80,)):
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([simulator, str(ROOT)]),
                "LD_LIBRARY_PATH": simulator,
                "SIMCUDA_DRY": "1",
                "SIMCUDA_MEMORY": str(card * 1.06e9),  # as the driver reports such cards
            }
            with tempfile.NamedTemporaryFile(suffix=".csv") as file:
                program = "import sys, peaks; peaks.check(*sys.argv[1:])"
                command = [sys.executable, "-c", program, name, file.name]
                subprocess.run(command, cwd=ROOT / "benchmarks", env=environment, check=True)
                rows.append(pd.read_csv(file.name, dtype=str))
    table = pd.concat(rows).to_markdown(index=False, disable_numparse=True)
    chosen.out.write_text(f"# Peaks on a card\n\n{NOTE}\n\n{table}\n")


def check(name: str, out: str) -> None:
    """Write a row for each step of one model."""
    sweep.marks = lambda total: [total]  # whole batches
    # It looks at numbers.
    transformers.masking_utils.find_packed_sequence_indices = lambda positions: None
    model, rows = dry_model(name), []
    room = torch.cuda.mem_get_info()[1]
    shape = known_shapes()[name]
    reading = shape.reading("bfloat16", on_gpu=True)
    tokens = torch.zeros(64, 1024, dtype=torch.int64)  # so that sums of both halves are there

    def row(step: str, predicted: float, work: Callable[[], Any]) -> None:
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_stats()["num_ooms"]
        size = work()
        tries = torch.cuda.memory_stats()["num_ooms"] - before + 1
        peak = torch.cuda.max_memory_allocated()
        rows.append(
            {
                "model": name,
                "card, GB": f"{room / 1e9:.0f}",
                "step": step,
                "at a time": size,
                "tries": tries,
                "peak, GB": f"{peak / 1e9:.1f}",
                "by the cost model, GB": f"{predicted / 1e9:.1f}",
                "ratio": f"{predicted / peak:.2f}",
                "of the card": f"{peak / room:.0%}",
            }
        )
        print(*rows[-1].values(), sep="  ", file=sys.stderr, flush=True)

    for step, chosen in SWEEPS.items():
        criteria = {key: make_criterion(key, {}) for key in chosen}
        about = ScoringCost(shape, criteria, ["neurons"], "bfloat16", room)
        predicted = about.peak(1024 * about.fitting(1024))

        def scored(criteria: dict = criteria) -> str:
            found = score_as_fits(criteria, model, tokens, ["neurons"], 16384, seed=0, resamples=8)
            return f"{found[0] // 1024} × 1,024"

        row(step, predicted, scored)
    row(
        "fidelity: the dense output",
        reading,
        lambda: last_states(model, torch.zeros(64, 256, dtype=torch.int64), 64) and "64 × 256",
    )
    row("perplexity", reading, lambda: read(model))
    row("zero-shot, 32 choices", reading, lambda: answer(model))
    row("latency: decoding", reading, lambda: decode(model))
    # Two passes: more of them hold no more.
    trained = training_memory(shape, training_tokens(on_gpu=True), "bfloat16", on_gpu=True)
    row("recovery", trained, lambda: train(model, Lora(batch=4)))
    pd.DataFrame(rows).to_csv(out, index=False)


def read(model: Any) -> str:
    """Read sequences as perplexity does, with logits of all positions."""
    with torch.no_grad():
        hidden = hidden_states(model, torch.zeros(8, 2048, dtype=torch.int64, device="cuda"))
        for _, found in chunks(model, hidden.flatten(0, 1)):
            found.log_softmax(-1)
    return "8 × 2,048"


def answer(model: Any) -> str:
    """Read questions with many choices as `hfprune.evaluation.lm` does."""
    tree = PrefixTree()
    for number in range(32):
        tree.add(number, [0] * 202, 192 if number else 0, tree.paths.get(0, ()))
    mask = torch.stack([tree.mask(len(tree))] * 32).unsqueeze(1).to("cuda")
    tokens, depths = torch.tensor([[tree.tokens, tree.depths]] * 32, device="cuda").unbind(1)
    with torch.inference_mode():
        hidden = hidden_states(model, tokens, position_ids=depths, attention_mask=mask)
        for _, found in chunks(model, hidden[:, -320:].flatten(0, 1), None):
            found.log_softmax(-1).argmax(-1)
    return f"32 × {len(tree)}"


def decode(model: Any) -> str:
    """Decode as latency does, from a copy of the cache after the prefill."""
    Timed(model, torch.zeros(8, 512, dtype=torch.int64, device="cuda")).times(64)
    return "8 × 576"


def train(model: Any, settings: Lora) -> str:
    """Take one step of recovery."""
    rows = torch.zeros(settings.batch, settings.length, dtype=torch.int32)
    positions = torch.arange(settings.length, dtype=torch.int32).repeat(settings.batch, 1)
    lora.check_finite = lambda loss, step: None  # memory without numbers
    with tempfile.TemporaryDirectory() as folder:
        tokens = training_tokens(on_gpu=True)
        packed = Packed(rows, rows, positions)
        lora.train_adapter(
            model,
            packed,
            settings.model_copy(update={"max_steps": 1}),
            seed=0,
            batch_tokens=tokens,
            state=Path(folder),
        )
    return f"{tokens // settings.length} × {settings.length:,}"


def dry_model(name: str) -> Any:
    """Return a model of the published configuration, whose weights are memory without numbers."""
    config = AutoConfig.for_model(**known_configs()[name] | {"dtype": "bfloat16"})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = model.to_empty(device="cuda").eval().requires_grad_(False)
    model.tie_weights()
    return model


if __name__ == "__main__":
    main()
