"""Vocabularies of a GGUF file: byte-level BPE (LLaMA 3, Qwen, SmolLM2) and SentencePiece (LLaMA 2, Gemma)."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from hfprune.errors import HfpruneError
from hfprune.exports.architecture import ELSEWHERE
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
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_SPACE = "\u2581"


class Vocabulary:
    """The tokenizer of a model folder, as far as llama.cpp can have the same."""

    def __init__(self, source: Path, size: int) -> None:
        """Read it.

        Args:
            source: folder of the tokenizer.
            size: rows of the model's embedding. Rows without a token are padding. Added tokens without a row are
                left out, since the model does not know them.

        Raises:
            HfpruneError: the vocabulary is neither byte-level BPE nor SentencePiece's, llama.cpp has no name for
                the way it splits text or would merge other pieces, or there are more tokens than rows.
        """
        self.tokenizer: Any = load_tokenizer(source)
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        known: dict[str, Any] = (
            json.loads(backend.to_str()) if backend else {"model": {"type": "no tokenizer.json"}}
        )
        self.space_before = _space_before(known)
        self.pre = _split_name(source, known) if self.space_before is None else "default"
        added = {token["id"]: token for token in known["added_tokens"]}
        every = {number: token for token, number in self.tokenizer.get_vocab().items()}
        if (most := max(number for number in every if number < size or number not in added)) >= size:
            raise HfpruneError(f"{source}: the tokenizer has token {most}, the model {size} embeddings")
        self.size = size
        self.tokens = {number: token for number, token in every.items() if number < size}
        self.added = {number: token for number, token in added.items() if number < size}
        merges = known["model"]["merges"]
        self.merges: list[list[str]] = [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]
        self.scores: list[float] = [] if self.space_before is None else self._scores(source)

    def _scores(self, source: Path) -> list[float]:
        """Return the scores of all rows. SentencePiece merges to the piece with the highest, BPE by its list.

        Raises:
            HfpruneError: no scores make the same merges.
        """
        # llama.cpp splits added tokens off before it merges.
        whole = {token["content"] for token in self.added.values()}
        pieces = [
            piece
            for piece, _ in itertools.groupby("".join(pair) for pair in self.merges)
            if piece not in whole
        ]
        rank = {piece: place for place, piece in enumerate(pieces)}
        pairs, known = {tuple(pair) for pair in self.merges}, {*self.tokens.values()}
        splits = (
            (piece[:end], piece[end:])
            for piece in known - whole
            if not _BYTE.fullmatch(piece)
            for end in range(1, len(piece))
        )
        if len(rank) < len(pieces) or any({*split} <= known and split not in pairs for split in splits):
            raise HfpruneError(
                f"{source}: GGUF export: the tokenizer does not merge as SentencePiece; {ELSEWHERE}"
            )
        return [-float(rank.get(self.tokens.get(number, ""), len(rank))) for number in range(self.size)]

    def add(self, writer: GGUFWriter) -> None:
        """Add it to the metadata of a file."""
        kinds = dict.fromkeys(self.tokens, TokenType.NORMAL)
        kinds |= {
            number: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
            for number, token in self.added.items()
        }
        tokens = [self.tokens.get(number, f"[PAD{number}]") for number in range(self.size)]
        if self.space_before is None:
            writer.add_tokenizer_model("gpt2")
            writer.add_token_merges([" ".join(pair) for pair in self.merges])
        else:
            kinds |= {
                number: TokenType.BYTE for number, token in self.tokens.items() if _BYTE.fullmatch(token)
            }
            for number, kind in kinds.items():  # llama.cpp looks for them before spaces are letters
                if kind is TokenType.USER_DEFINED:
                    tokens[number] = tokens[number].replace(_SPACE, " ")
            writer.add_tokenizer_model("llama")
            writer.add_token_scores(self.scores)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(tokens)
        writer.add_token_types([kinds.get(number, TokenType.UNUSED) for number in range(self.size)])
        self._add_special(writer)

    def _add_special(self, writer: GGUFWriter) -> None:
        tokenizer = self.tokenizer
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
        writer.add_add_space_prefix(bool(self.space_before))
        if isinstance(tokenizer.chat_template, str):
            writer.add_chat_template(tokenizer.chat_template)


def _space_before(known: dict[str, Any]) -> bool | None:
    """Tell whether a SentencePiece tokenizer puts a space before the text; None: it is none that llama.cpp has."""
    if known["model"]["type"] != "BPE" or not known["model"].get("byte_fallback"):
        return None
    letters = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    match known["normalizer"], known["pre_tokenizer"]:
        # Gemma; no space is left to split at.
        case found, None | {"type": "Split", "pattern": {"String": " "}} if found == letters:
            return False
        # LLaMA 2 and Mistral 7B, as transformers 4 and 5 have them.
        case {"normalizers": [{"type": "Prepend", "prepend": "\u2581"}, found]}, None if found == letters:
            return True
        case None, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}:
            return bool(scheme != "never")
    return None


def _split_name(source: Path, known: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way in which `tokenizer.json` splits text."""
    model = known["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        kind = "this SentencePiece" if model.get("byte_fallback") else model["type"]
        raise HfpruneError(
            f"{source}: GGUF export supports vocabularies of byte-level BPE (LLaMA 3, Qwen, SmolLM2) and "
            f"SentencePiece (LLaMA 2, Mistral 7B, Gemma), not {kind}; {ELSEWHERE}"
        )
    steps = _steps(known["pre_tokenizer"])
    name = SPLITS.get((steps, bool(model.get("ignore_merges"))))
    if name is None:
        raise HfpruneError(
            f"{source}: the tokenizer splits text in a way ({' + '.join(steps) or 'none'}) that is none of "
            f"{', '.join(SPLITS.values())}; {ELSEWHERE}"
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
