"""Blocks of tokens, sampled from a corpus with a seed."""

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from hfprune.errors import HfpruneError, explained
from hfprune.provenance import save_tensors
from hfprune.runs import Provenance
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def sample_blocks(
    documents: list[str],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    sequences: int,
    length: int,
    sampling: str,
    seed: int,
    corpus: str = "corpus",
    place: str = "calibration",
) -> tuple[Tensor, list[int]]:
    """Draw blocks of tokens from documents visited in a seeded random order.

    Args:
        documents: texts.
        tokenizer: adds its special tokens (BOS) as by default, as in the official code. With Gemma's, each block
            begins with BOS and holds no other special token.
        sequences: at most this many blocks; a small corpus gives fewer.
        length: tokens per block.
        sampling: `crop`, one random crop of every document longer than `length` tokens, as the official code
            does; or `pack`, documents joined end to end, separated by EOS; or `shuffle`, the same blocks in random
            order, so that a few of them come from many documents.
        seed: the number of the draw.
        corpus: name of the corpus, for messages and the seed.
        place: the place of use, so that calibration and measurement draw different blocks.

    Returns:
        The blocks, int32 [blocks, length], and for each block the number of the document in which it starts.

    Raises:
        HfpruneError: the corpus is empty, or no block can be filled.
    """
    if not documents:
        raise HfpruneError(f"corpus {corpus!r} is empty")
    generator = random.Random(derive_seed(seed, place, corpus))
    order = generator.sample(range(len(documents)), len(documents))
    take = _crop if sampling == "crop" else _pack
    first = first_tokens(tokenizer)
    texts = ((number, tokens_of(documents[number], tokenizer, first)) for number in order)
    blocks, homes, longest = take(texts, tokenizer.eos_token_id, sequences, length - len(first), generator)
    if sampling == "shuffle":
        order = generator.sample(range(len(blocks)), len(blocks))
        blocks, homes = [blocks[number] for number in order], [homes[number] for number in order]
    blocks = [first + block for block in blocks]
    if not blocks:
        text = re.sub(r"-[0-9a-f]{12}$", "", corpus)  # without the hash that a user's file is stored under
        raise HfpruneError(
            f"text {text!r} cannot fill one block of {length} tokens with sampling {sampling!r} (there are "
            f"{longest} at most): choose a shorter length"
            + (" or sampling: pack" if sampling == "crop" else "")
            + " (--length), or a longer text"
        )
    return torch.tensor(blocks, dtype=torch.int32), homes


def too_few(corpus: str, blocks: int, asked: int, sampling: str) -> str:
    """Return a warning that a corpus fills fewer blocks than were asked for, or "" if it fills all."""
    if blocks >= asked:
        return ""
    pack = ", or --sampling pack" if sampling == "crop" else ""
    return (
        f"warning: {corpus} fills {blocks:,} of {asked:,} blocks, so less is read than was asked for: for more, "
        f"give a longer text or a shorter --length{pack}"
    )


def first_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return [BOS] if each sequence must begin with it, as for Gemma, which reads text badly without; else []."""
    gemma = type(tokenizer).__name__.startswith("Gemma") and tokenizer.bos_token_id is not None
    return [tokenizer.bos_token_id] if gemma else []


def tokens_of(text: str, tokenizer: "PreTrainedTokenizerBase", first: list[int]) -> list[int]:
    """Return the tokens of a text; without special tokens if the sequences cut from it begin with `first`."""
    tokens: list[int] = tokenizer(text, verbose=False, add_special_tokens=not first)["input_ids"]
    return tokens


# Blocks, the number of the document in which each starts, and the longest possible block in tokens.
_Drawn = tuple[list[list[int]], list[int], int]


def _crop(texts, _separator, sequences, length, generator) -> _Drawn:
    blocks: list[list[int]] = []
    homes: list[int] = []
    longest = 0
    with tqdm(total=sequences, desc="calibrate", unit="sequence") as bar:
        for number, tokens in texts:
            if len(blocks) == sequences:
                break
            longest = max(longest, len(tokens))
            if len(tokens) > length:
                start = generator.randint(0, len(tokens) - length)
                blocks.append(tokens[start : start + length])
                homes.append(number)
                bar.update()
    return blocks, homes, longest


def _pack(texts, separator, sequences, length, _generator) -> _Drawn:
    tokens: list[int] = []
    owners: list[int] = []
    for number, text in texts:
        tokens += text if separator is None else [*text, separator]
        owners += [number] * (len(tokens) - len(owners))
        if len(tokens) >= sequences * length:
            break
    starts = range(0, min(len(tokens) - length + 1, sequences * length), length)
    return (
        [tokens[start : start + length] for start in starts],
        [owners[start] for start in starts],
        len(tokens),
    )


def save_blocks(path: Path, blocks: Tensor, provenance: Provenance, documents: list[int]) -> None:
    """Write calibration blocks atomically as safetensors: `tokens` [blocks, length] and `documents` [blocks]."""
    tensors = {"tokens": blocks, "documents": torch.tensor(documents, dtype=torch.int32)}
    save_tensors(path, tensors, provenance)


def load_blocks(path: Path) -> Tensor:
    """Read the blocks [blocks, length] that `save_blocks` wrote.

    Raises:
        HfpruneError: the file holds no calibration blocks.
    """
    text = f"{path}: not calibration blocks; make them with `hfprune calibrate`"
    with explained(text, Exception), safe_open(path, "pt") as file:
        return file.get_tensor("tokens")


def block_documents(path: Path) -> list[int] | None:
    """Return the document in which each block starts; None if the file does not record it."""
    with safe_open(path, "pt") as file:
        return file.get_tensor("documents").tolist() if "documents" in file.keys() else None  # noqa: SIM118
