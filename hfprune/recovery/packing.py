"""Packing of instruction pairs into sequences of equal length: whole and isolated, or joined and cut."""

import json
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from hfprune.calibration.blocks import first_tokens
from hfprune.errors import HfpruneError, explained
from hfprune.provenance import save_tensors
from hfprune.recovery.conversations import IGNORED, Pair, tokenized
from hfprune.runs import Provenance
from hfprune.seeds import derive_seed
from hfprune.settings.recovery import Packing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Prefix of the names of held-out tensors in a file.
_HELD_OUT = "held_out_"

# Tokens, labels and positions of a sequence.
Row = tuple[list[int], list[int], list[int]]


@dataclass(frozen=True)
class Packed:
    """Packed sequences, three int32 tensors [sequences, length].

    Attributes:
        tokens: token ids.
        labels: the tokens of responses, and `IGNORED` elsewhere.
        positions: positions of tokens in their pair or sequence. A token does not attend past a restart at 0;
            each padding token has position 0 and attends only to itself.
    """

    tokens: Tensor
    labels: Tensor
    positions: Tensor


def all_learnt(packed: Packed) -> Packed:
    """Return the same sequences with labels at all tokens but the first of each pair, and not at padding."""
    return replace(packed, labels=packed.tokens.where(packed.positions > 0, IGNORED))


def recovery_seed(seed: int, instructions: str) -> int:
    """Return the seed of all random steps in a recovery, from the draw's number; it fits NumPy's 32 bits.

    The seed is the same for all models, methods and ratios, so that they start from the same adapters and read
    the same pairs in the same order.
    """
    return derive_seed(seed, "recovery", instructions) % 2**32


def pack(pairs: pa.Table, tokenizer: "PreTrainedTokenizerBase", settings: Packing, *, seed: int) -> Packed:
    """Pack pairs, in a seeded random order, into sequences of `settings.length` tokens.

    A pair is the prompt and the response, tokenized as one text with the tokenizer's default special tokens (BOS),
    followed by EOS. Labels are the tokens of the response and EOS. Sequences without a response teach nothing
    and are left out.

    `packing: isolated` follows the official script: a sequence takes whole pairs as long as they fit, and is
    then padded; a pair longer than `length` tokens is cut; its first token is never a label. The script numbers
    pairs in its attention mask; here positions restart with each, and transformers derives the same isolation.

    `packing: plain` joins the pairs end to end and cuts the result; the rest at the end is dropped. Each sequence
    of a Gemma begins with BOS, without a label.

    Args:
        pairs: columns `instruction`, `input`, `output`.
        tokenizer: the model's tokenizer.
        settings: `packing`, `length` and `template`.
        seed: seed of the order.

    Raises:
        HfpruneError: no sequence holds a response.
    """
    order = Random(seed).sample(range(len(pairs)), len(pairs))
    # This takes minutes: in a log, an update every 30 seconds is enough.
    patience = 0.1 if sys.stderr.isatty() else 30
    drawn = tokenized(pairs, order, tokenizer, settings.template)
    shown = tqdm(drawn, desc="tokenize", unit="pair", total=len(order), mininterval=patience)
    packed = _filled(shown, settings, tokenizer)
    if not len(packed.tokens):
        longer = settings.packing == "isolated"
        raise HfpruneError(
            f"{len(order)} instruction pairs fill no sequence of {settings.length} tokens that holds a response; "
            f"choose {'a longer length' if longer else 'more pairs or a shorter length'}"
        )
    return packed


def hold_out(
    pairs: pa.Table, tokenizer: "PreTrainedTokenizerBase", settings: Packing
) -> tuple[Packed, pa.Table]:
    """Set aside pairs that fill `settings.held_out` sequences, but at most a tenth of the pairs.

    The choice does not depend on the draw, so that losses on these sequences can be compared in pairs between
    methods, ratios, draws and data budgets of a model.

    Returns:
        The sequences, packed as in `pack`, perhaps fewer than wanted or none; and all other pairs.
    """
    order = Random(derive_seed(0, "held_out")).sample(range(len(pairs)), len(pairs) // 10)
    rest = np.ones(len(pairs), bool)

    def drawn() -> Iterator[Pair]:
        for row, pair in zip(order, tokenized(pairs, order, tokenizer, settings.template), strict=True):
            rest[row] = False
            yield pair

    held_out = _filled(drawn(), settings, tokenizer, settings.held_out)
    return held_out, pairs.filter(pa.array(rest))


def save_packed(path: Path, packed: Packed, held_out: Packed, provenance: Provenance) -> None:
    """Write training and held-out sequences atomically as safetensors, with provenance in the metadata."""
    tensors = vars(packed) | {f"{_HELD_OUT}{name}": tensor for name, tensor in vars(held_out).items()}
    save_tensors(path, tensors, provenance)


def load_packed(path: Path) -> tuple[Packed, Packed, Provenance]:
    """Read training and held-out sequences, which stay on disk until they are used, and their provenance.

    Raises:
        HfpruneError: the file was not written by `save_packed`.
    """
    text = f"{path}: not packed pairs; make them with `hfprune pack`"
    kinds = (SafetensorError, KeyError, TypeError, ValueError)
    with explained(text, *kinds), safe_open(path, "pt") as file:
        provenance = json.loads(file.metadata()["provenance"])
        packed, held_out = (
            Packed(*(file.get_tensor(prefix + field.name) for field in fields(Packed)))
            for prefix in ("", _HELD_OUT)
        )
        return packed, held_out, provenance


def _filled(
    pairs: Iterable[Pair], settings: Packing, tokenizer: "PreTrainedTokenizerBase", most: int | None = None
) -> Packed:
    """Return the first `most` sequences that hold a response; padding is any token, since none attends to it."""
    length, columns = settings.length, (array("i"), array("i"), array("i"))
    isolated = settings.packing == "isolated"
    filled = _isolated(pairs, length) if isolated else _joined(pairs, length, first_tokens(tokenizer))
    # A sequence's first token is never predicted.
    taught = (sequence for sequence in filled if any(label != IGNORED for label in sequence[1][1:]))
    for sequence in islice(taught, most):
        for column, part, padding in zip(columns, sequence, (0, IGNORED, 0), strict=True):
            column.extend([*part, *[padding] * (length - len(part))])
    return Packed(*(torch.from_numpy(np.asarray(column)).view(-1, length) for column in columns))


def _isolated(pairs: Iterable[Pair], length: int) -> Iterator[Row]:
    """Yield sequences of whole pairs; a pair that does not fit starts the next sequence."""
    sequence: Row = [], [], []
    for tokens, labels in pairs:
        pair = tokens[:length], labels[:length], range(min(len(tokens), length))
        if len(sequence[0]) + len(pair[0]) > length:
            yield sequence
            sequence = [], [], []
        for column, part in zip(sequence, pair, strict=True):
            column.extend(part)
    yield sequence


def _joined(pairs: Iterable[Pair], length: int, first: list[int]) -> Iterator[Row]:
    """Yield sequences cut from the joined pairs, which begin with `first`; the rest at the end is dropped."""
    joined: Pair = [], []
    for pair in pairs:
        for column, part in zip(joined, pair, strict=True):
            column.extend(part)
        while True:
            lead = [] if joined[0][: len(first)] == first else first
            end = length - len(lead)
            if len(joined[0]) < end:
                break
            yield lead + joined[0][:end], [IGNORED] * len(lead) + joined[1][:end], [*range(length)]
            joined = joined[0][end:], joined[1][end:]
