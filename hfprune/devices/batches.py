"""Batch sizes by kind of device, for passes and for the cost model."""

# Tokens in the KV cache while a model generates text: each step reads all weights once for the whole batch.
WRITTEN_AT_ONCE = 16384
# Tokens of a forward pass that measures a model whose weights stay on disk: each pass reads all weights.
READ_AT_ONCE = 4096


def batch_tokens(*, on_gpu: bool) -> int:
    """Return the tokens of a forward pass: just enough to saturate the device.

    On a CPU, more is slower: larger activations do not fit the cache and cause page faults.
    """
    return 16384 if on_gpu else 512


def training_tokens(*, on_gpu: bool) -> int:
    """Return the tokens of a forward pass of training.

    Fewer than for inference: training keeps the activations of all layers and the float32 logits of all
    positions.
    """
    return 2048 if on_gpu else 512


def head_positions(vocabulary: int, *, on_gpu: bool) -> int:
    """Return how many positions go through the head at a time, which bounds the memory for logits.

    One float32 copy of the logits takes 32 MiB on a CPU, where more would not fit the cache, and 256 MiB on
    CUDA, where less would not keep the device busy. At least 128 positions are taken: with fewer, and a large
    vocabulary, reading the head's weights would take longer than the products.
    """
    return max(128, (2**26 if on_gpu else 2**23) // vocabulary)
