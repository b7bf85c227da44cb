"""Timing of prefill and decoding, floating-point operations of a prefill, and medians over repeats."""

import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin

from hfprune.cells import Value
from hfprune.models.head import next_logits
from hfprune.models.quantised import OPERATIONS, bytes_of_weights
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

RESAMPLES = 1000


class Timed:
    """A model that has read prompts [batch, length] once, and decodes repeatedly from there."""

    def __init__(self, model: "PreTrainedModel", prompts: Tensor) -> None:
        self.model, self.prompt = model, prompts[:1]
        self.first, self.cache = prefill(model, prompts)

    def times(self, new_tokens: int) -> dict[str, float]:
        """Return the seconds of a prefill of one prompt, and the tokens per second of decoding all prompts."""
        prefill_seconds, _ = timed(lambda: prefill(self.model, self.prompt))
        cache = deepcopy(self.cache)
        decode_seconds, tokens = timed(lambda: decode(self.model, self.first, cache, range(new_tokens)))
        rate = tokens.numel() / decode_seconds
        return {"prefill_seconds": prefill_seconds, "decode_tokens_per_second": rate}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall seconds of `work` on its device, and its result."""
    _synchronize()
    start = time.perf_counter()
    result = work()
    _synchronize()
    return time.perf_counter() - start, result


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@torch.inference_mode()
def prefill(model: "PreTrainedModel", tokens: Tensor) -> tuple[Tensor, DynamicCache]:
    """Return the most likely next token [batch, 1] of prompts [batch, length], and their KV cache."""
    cache = DynamicCache(config=model.config)
    return _next_token(model, tokens, cache), cache


@torch.inference_mode()
def decode(model: "PreTrainedModel", token: Tensor, cache: "Cache", steps: Iterable[object]) -> Tensor:
    """Decode greedily from the last `token` [batch, 1], past any EOS; return new tokens [batch, steps]."""
    tokens = []
    for _ in steps:
        token = _next_token(model, token, cache)
        tokens.append(token)
    return torch.cat(tokens, 1)


def _next_token(model: "PreTrainedModel", tokens: Tensor, cache: "Cache") -> Tensor:
    return next_logits(model, tokens, cache).argmax(-1, keepdim=True)


def prefill_flops(model: "PreTrainedModel", tokens: Tensor) -> int:
    """Count the floating-point operations of a prefill: a multiply-add is two; attention counts all pairs."""
    # The counter supports the plain attention kernel on every device, the fused kernels only on some.
    with FlopCounterMode(display=False, custom_mapping=OPERATIONS) as counter, sdpa_kernel(SDPBackend.MATH):
        prefill(model, tokens)
    return counter.get_total_flops()


def memory_bytes(model: "PreTrainedModel", cache: DynamicCache) -> int:
    """Count the bytes of the weights, tied ones once, and of a KV cache."""
    layers = [layer for layer in cache.layers if isinstance(layer, CacheLayerMixin)]
    kept = [x for layer in layers for x in (layer.keys, layer.values) if x is not None]
    return bytes_of_weights(model) + sum(x.nbytes for x in kept)


def median_value(metric: str, numbers: pd.Series, base: pd.Series | None = None) -> Value:
    """Return the median over repeats, or its ratio to the median of `base` in the same repeats.

    The standard error is from a bootstrap over repeats; a single repeat has none.
    """
    top = numbers.to_numpy()
    bottom = np.ones_like(top) if base is None else base.to_numpy()

    def statistic(rows: np.ndarray) -> np.ndarray:
        return np.median(top[rows], -1) / np.median(bottom[rows], -1)

    n = len(top)
    draws = np.random.default_rng(derive_seed(0, "latency", metric)).integers(n, size=(RESAMPLES, n))
    stderr = float(statistic(draws).std(ddof=1)) if n > 1 else None
    return Value(metric, float(statistic(np.arange(n))), stderr, n)
