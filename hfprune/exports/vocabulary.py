"""Vocabularies of a GGUF file: byte-level BPE, as LLaMA 3, Qwen and SmolLM2 have it, and Gemma's SentencePiece."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from hfprune.errors import HfpruneError
from hfprune.models.load import load_tokenizer

# llama.cpp knows the ways to split text into words by name. Each is known here by the steps that `tokenizer.json`
# describes, and by whether a word in the vocabulary is one token whatever the merges say.
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
_QWEN_2 = _LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
_GPT_2 = "ByteLevel"  # its own regular expression
SPLITS = {
    ((_LLAMA_3,), True): "llama-bpe",  # LLaMA 3
    ((_QWEN_2,), False): "qwen2",  # Qwen2, Qwen2.5, Qwen3
    (("Digits", _GPT_2), False): "smollm",  # SmolLM, SmolLM2
    ((_GPT_2,), False): "gpt-2",
}
SENTENCEPIECE = "default"
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}


def add_vocabulary(writer: GGUFWriter, source: Path, size: int) -> None:
    """Add the tokenizer of a model folder to the metadata.

    Args:
        writer: of the file.
        source: folder of the tokenizer.
        size: rows of the embedding; rows without a token are padding.

    Raises:
        HfpruneError: the vocabulary is neither byte-level BPE nor SentencePiece as Gemma has it, llama.cpp has no
            name for the way it splits text, or it has more tokens than rows.
    """
    tokenizer: Any = load_tokenizer(source)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    known: dict[str, Any] = (
        json.loads(backend.to_str()) if backend else {"model": {"type": "no tokenizer.json"}}
    )
    name = _split_name(source, known)
    tokens = {number: token for token, number in tokenizer.get_vocab().items()}
    if max(tokens) >= size:
        raise HfpruneError(f"{source}: the tokenizer has token {max(tokens)}, the model {size} embeddings")
    added = {
        token["id"]: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        for token in known["added_tokens"]
    }
    types = [
        added.get(number, TokenType.NORMAL) if number in tokens else TokenType.UNUSED
        for number in range(size)
    ]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in known["model"]["merges"]]
    writer.add_token_list([tokens.get(number, f"[PAD{number}]") for number in range(size)])
    if name == SENTENCEPIECE:
        types = [
            TokenType.BYTE if _BYTE.fullmatch(tokens.get(number, "")) else kind
            for number, kind in enumerate(types)
        ]
        scores = _scores(source, merges)
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([scores.get(tokens.get(number, ""), 0.0) for number in range(size)])
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_tokenizer_pre(name)
    writer.add_token_types(types)
    _add_special(writer, tokenizer)


def _scores(source: Path, merges: list[list[str]]) -> dict[str, float]:
    """Return the score of each piece: SentencePiece merges those of the highest first, BPE the first in its list.

    Raises:
        HfpruneError: the list returns to a piece, so that no score of the piece says when to merge.
    """
    pieces = [piece for piece, _ in itertools.groupby("".join(pair) for pair in merges)]
    scores = {piece: -float(rank) for rank, piece in enumerate(pieces)}
    if len(scores) < len(pieces):
        raise HfpruneError(
            f"{source}: GGUF export: the merges of the tokenizer are not in the order of SentencePiece; "
            "export safetensors and convert them with llama.cpp's convert_hf_to_gguf.py"
        )
    return scores


def _add_special(writer: GGUFWriter, tokenizer: Any) -> None:
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if number is not None:
            add(number)
    encoded = tokenizer("a").input_ids
    writer.add_add_bos_token(encoded[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(encoded[-1] == tokenizer.eos_token_id)
    writer.add_add_space_prefix(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _split_name(source: Path, known: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way in which `tokenizer.json` splits text."""
    model = known["model"]
    if model.get("byte_fallback") and known["normalizer"] == _SPACES:
        return SENTENCEPIECE
    if model["type"] != "BPE" or model.get("byte_fallback"):
        kind = "SentencePiece with a space before text" if model.get("byte_fallback") else model["type"]
        raise HfpruneError(
            f"{source}: GGUF export supports byte-level BPE vocabularies (LLaMA 3, Qwen, SmolLM2) and Gemma's, "
            f"not {kind}; export safetensors and convert them with llama.cpp's convert_hf_to_gguf.py"
        )
    steps = _steps(known["pre_tokenizer"])
    name = SPLITS.get((steps, bool(model.get("ignore_merges"))))
    if name is None:
        raise HfpruneError(
            f"{source}: the tokenizer splits text in a way ({' + '.join(steps) or 'none'}) that is none of "
            f"{', '.join(SPLITS.values())}; "
            "export safetensors and convert them with llama.cpp's convert_hf_to_gguf.py"
        )
    return name


def _steps(part: dict[str, Any] | None) -> tuple[str, ...]:
    match part:
        case {"type": "Sequence", "pretokenizers": parts}:
            return tuple(step for inner in parts for step in _steps(inner))
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return (pattern,)
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": regex}:
            return (_GPT_2,) if regex else ()
        case {"type": "Digits", "individual_digits": True}:
            return ("Digits",)
    return ("unknown",) if part is None else (f"unknown {part['type']}",)
