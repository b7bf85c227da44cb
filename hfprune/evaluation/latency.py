"""Speed of prefill and decoding, beside the dense model's in the same process, and the work of a prefill."""

import time
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import DynamicCache

from hfprune.calibration import derive_seed
from hfprune.plans import count_parameters
from hfprune.results import Value

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

RESAMPLES = 1000


def latency(
    model: "PreTrainedModel",
    dense: "PreTrainedModel | None",
    *,
    prompt_tokens: int,
    batch: int,
    new_tokens: int,
    repeats: int,
) -> tuple[list[Value], pd.DataFrame]:
    """Time prefill and greedy decoding of random prompts, after one round to warm up (paper, Table 4).

    Metrics: `prefill_seconds`, from one prompt to its first new token; `decode_tokens_per_second`, over
    `new_tokens` steps with a KV cache after the prefill of `batch` prompts, whatever tokens come out;
    `prefill_speedup` and `decode_speedup` against `dense`, which takes turns with `model`; `flops` of that
    prefill; `parameters`. Times are medians over repeats, speed-ups ratios of medians, with standard errors
    from a bootstrap over repeats.

    Args:
        model: the model to measure, on the same device as `dense`.
        dense: what speed-ups refer to; without it there are none.
        prompt_tokens: tokens of a prompt.
        batch: prompts that are decoded at a time; prefill takes one.
        new_tokens: tokens to decode for each prompt.
        repeats: rounds that count.

    Returns:
        The values, and one row per repeat.
    """
    generator = torch.Generator().manual_seed(derive_seed(0, "latency"))
    prompts = torch.randint(model.config.vocab_size, (batch, prompt_tokens), generator=generator)
    prompts = prompts.to(model.device)
    turns = [_Turn("", model, prompts)]
    if dense is not None:
        turns.append(_Turn("dense_", dense, prompts))
    rows = []
    for _ in tqdm(range(1 + repeats), desc="latency", unit="round"):
        rows.append({metric: time for turn in turns for metric, time in turn.times(new_tokens).items()})
        # A machine that gets slower, or a processor cache that is warm, must not favour one side of a ratio.
        turns.reverse()
    items = pd.DataFrame(rows[1:])
    metrics = ["prefill_seconds", "decode_tokens_per_second"]
    values = [_median(metric, items[metric]) for metric in metrics]
    if dense is not None:
        prefill_pair, decode_pair = ((items[name], items[f"dense_{name}"]) for name in metrics)
        values += [_median("prefill_speedup", *prefill_pair[::-1]), _median("decode_speedup", *decode_pair)]
        items["prefill_speedup"] = prefill_pair[1] / prefill_pair[0]
        items["decode_speedup"] = decode_pair[0] / decode_pair[1]
    values.append(Value("flops", float(prefill_flops(model, prompts[:1]))))
    values.append(Value("parameters", float(count_parameters(model))))
    items.insert(0, "item", range(len(items)))
    return values, items


class _Turn:
    """A model that has read the prompts [batch, length], from where it decodes again and again."""

    def __init__(self, name: str, model: "PreTrainedModel", prompts: Tensor) -> None:
        self.name = name
        self.model = model
        self.prompt = prompts[:1]
        self.first, self.cache = prefill(model, prompts)

    def times(self, new_tokens: int) -> dict[str, float]:
        """Time one prefill and one decoding; the metrics' names start with that of the turn."""
        prefill_seconds, _ = _timed(lambda: prefill(self.model, self.prompt))
        cache = deepcopy(self.cache)
        decode_seconds, tokens = _timed(lambda: decode(self.model, self.first, cache, new_tokens))
        return {
            f"{self.name}prefill_seconds": prefill_seconds,
            f"{self.name}decode_tokens_per_second": tokens.numel() / decode_seconds,
        }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    _synchronize()
    start = time.perf_counter()
    result = work()
    _synchronize()
    return time.perf_counter() - start, result


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@torch.inference_mode()
def prefill(model: "PreTrainedModel", tokens: Tensor) -> tuple[Tensor, "Cache"]:
    """Read prompts [batch, length]; return the likeliest next token of each [batch, 1], and the KV cache."""
    cache = DynamicCache(config=model.config)
    return _next_token(model, tokens, cache), cache


@torch.inference_mode()
def decode(model: "PreTrainedModel", token: Tensor, cache: "Cache", steps: int) -> Tensor:
    """Decode greedily from the last `token` [batch, 1], through any EOS; return the new tokens [batch, steps]."""
    found = []
    for _ in range(steps):
        token = _next_token(model, token, cache)
        found.append(token)
    return torch.cat(found, 1)


def _next_token(model: "PreTrainedModel", tokens: Tensor, cache: "Cache") -> Tensor:
    # By position, since versions of transformers differ in what they call the cache.
    return model(tokens, None, None, cache, use_cache=True, logits_to_keep=1).logits.argmax(-1)


def prefill_flops(model: "PreTrainedModel", tokens: Tensor) -> int:
    """Count the floating-point operations of a prefill, a multiply-add as two, all pairs of attention included."""
    # The counter knows the plain kernel of attention on every device, and the fused ones only on some.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        prefill(model, tokens)
    return counter.get_total_flops()


def _median(metric: str, numbers: pd.Series, base: pd.Series | None = None) -> Value:
    """Return the median over repeats, or its ratio to the median of `base` in the same repeats."""
    top = numbers.to_numpy()
    bottom = np.ones_like(top) if base is None else base.to_numpy()

    def statistic(rows: np.ndarray) -> np.ndarray:
        return np.median(top[rows], -1) / np.median(bottom[rows], -1)

    n = len(top)
    draws = np.random.default_rng(derive_seed(0, "latency", metric)).integers(n, size=(RESAMPLES, n))
    stderr = float(statistic(draws).std(ddof=1)) if n > 1 else None
    return Value(metric, float(statistic(np.arange(n))), stderr, n)
