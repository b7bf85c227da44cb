"""The smoke study: tiny LLaMA, Qwen2 and Qwen3 built on the spot, in a project folder of their own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import forked
import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from conftest import build_tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hfprune.assets.formats import write_arrow

ROOT = Path(__file__).parents[1]
TEXT = [
    f"In the year {1800 + n} the {place} had {n * 7} houses, {n} wells and a market every {n % 6 + 2} days. "
    * 3
    for n, place in enumerate(["harbour", "valley", "old town", "mill", "island", "fort"] * 8)
]
TASKS = {
    "arc_easy": [
        {"question": f"Which is larger than {n}?", "answerKey": "B",
         "choices": {"text": [str(n - 1), str(n + n), "nothing"], "label": ["A", "B", "C"]}}
        for n in range(2, 12)],
    "crows_pairs_english": [
        {"sent_more": f"The {who} drive slowly.", "sent_less": "The young drive slowly.",
         "stereo_antistereo": 0, "bias_type": "age"} for who in ("old", "tired", "rich", "poor")],
    "piqa": [
        {"goal": f"To boil {n} eggs", "sol1": "use water.", "sol2": f"use {n} spoons of sand.", "label": n % 2}
        for n in range(1, 9)],
}  # fmt: skip
PAIRS = [
    {"instruction": "How many houses had the place?", "input": text, "output": f"{n * 7} houses."}
    for n, text in enumerate(TEXT)
]
STUDY = {
    "models": ["llama", "qwen2", "qwen3"],
    "methods": {
        "entropy": None,
        "entropy_attention": {
            "criterion": "entropy",
            "units": {"neurons": 0.4, "key_value_groups": 0.6},
        },
        "random": {"allocation": {"rule": "global", "standardize": True}},
    },
    "ratios": [0.15],
    "recoveries": ["none", "lora"],
    "recovery": {"instructions": "pairs", "methods": ["entropy"]}
    | {"rank": 4, "batch": 2, "length": 320, "max_steps": 3, "held_out": 1},
    "dtype": "float32",
    "calibrations": {"text": {"corpus": "text", "sequences": 6, "length": 32}},
    "primary": "fidelity",
    "measures": {
        "zeroshot": {"tasks": ["arc_easy", "crows_pairs_english"], "batch_tokens": 256},
        "fidelity": {"corpus": "heldout", "sequences": 4, "length": 32},
        "perplexity": {"corpus": "heldout", "sequences": 4, "length": 32},
        "latency": {"prompt_tokens": 16, "batch": 2, "new_tokens": 4, "repeats": 3, "methods": ["entropy"]},
        "cost": {"sequences": 2, "repeats": 2, "methods": ["entropy"]},
        "distributions": {"corpus": "heldout", "sequences": 2, "length": 16},
    },
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def save_model(architecture: str, folder: Path, **changes: int) -> None:
    tokenizer = build_tokenizer()
    build_tiny(architecture, vocab_size=len(tokenizer), **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_sources(folder: Path) -> dict[str, dict]:
    (folder / "text.txt").write_text("\n".join(TEXT))
    for name, records in (TASKS | {"pairs": PAIRS}).items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    of = {name: {"source": local(folder / f"{name}.jsonl"), "format": "jsonl"} for name in ("pairs", *TASKS)}
    return {
        "corpora": {"text": {"source": local(folder / "text.txt"), "format": "lines"}},
        "tasks": {task: of[task] | {"rows": len(documents)} for task, documents in TASKS.items()},
        "instructions": {"pairs": of["pairs"]},
    }


def write_requests(folder: Path, pairs: Iterable[tuple[str, str]]) -> None:
    folder.mkdir(parents=True)
    contexts, continuations = map(list, zip(*pairs, strict=True))
    columns = {"document": [*range(len(contexts))], "context": contexts, "continuation": continuations}
    write_arrow(folder / "requests.arrow", pa.table(columns))


def make_project(folder: Path) -> None:
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "profiles", "paper"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "config/studies").mkdir(parents=True)
    (folder / "data").mkdir()
    catalogue: dict = write_sources(folder / "data") | {"models": {}}
    lines = catalogue["corpora"]["text"]
    for architecture in STUDY["models"]:
        save_model(architecture, folder / "data" / architecture)
        catalogue["models"][architecture] = {"source": local(folder / "data" / architecture)}
    for name, documents in (("text", [0, 24]), ("other", [24, 36]), ("heldout", [36, len(TEXT)])):
        catalogue["corpora"][name] = lines | {"documents": documents}
    write(folder / "config/assets.yaml", catalogue)
    write(folder / "config/config.yaml", {"study": "smoke"})
    write(folder / "config/studies/smoke.yaml", STUDY)


def local(path: Path) -> dict[str, str]:
    return {"provider": "local", "path": str(path)}


def write(path: Path, data: dict) -> None:
    path.write_text(yaml.safe_dump(data))


def change(path: Path, **changes: object) -> None:
    write(path, yaml.safe_load(path.read_text()) | changes)


def contents(folder: Path, pattern: str) -> dict[str, str]:
    files = [path for path in folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def snakemake(
    folder: Path,
    *arguments: str,
    check: bool = True,
    starts: bool = False,
    on: Mapping[str, str] | None = None,
) -> str:
    """Run Snakemake in a project folder and return what it printed; on failure show that.

    Jobs are forked, see `forked`; with `starts`, each starts the real script. `on` is the environment of another
    machine than one without GPUs.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    # No CUDA: the tests are the same everywhere. A coloured terminal would put codes between words.
    environment = {**(on or os.environ | {"CUDA_VISIBLE_DEVICES": ""}), "NO_COLOR": "1"}
    if not on and not starts and not {"--dry-run", "--lint"} & {*arguments}:
        environment |= forked.environment()
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    output = run.stdout + run.stderr
    if check and run.returncode != 0:
        raise AssertionError(f"snakemake failed:\n{output[-5000:]}")
    if not check:
        assert run.returncode != 0, output[-2000:]
    return output


def jobs(output: str) -> dict[str, int]:
    lines = output[output.rindex("Job stats:") :].splitlines()[3:]
    rows = [line.split() for line in lines[: lines.index("")]]
    return {row[0]: int(row[1]) for row in rows if row[0] != "total"}


def same_as_before(results: Path) -> None:
    """Compare the study's numbers with those at commit 5b587c0, before measures had a contract.

    Times, recoveries and the method that changed since are left out. To make the file again, run the study there.
    """
    by = ["model", "method", "ratio", "draw", "recovery", "measure", "task", "metric"]
    before = pd.read_csv(Path(__file__).with_name("smoke_before.csv"))
    both = before.merge(pd.read_csv(results), on=by, how="left", suffixes=("_before", ""))
    assert len(both) == len(before) == 93
    for column in ("value", "stderr", "n"):
        np.testing.assert_allclose(both[column], both[f"{column}_before"], rtol=1e-3, atol=1e-6)
