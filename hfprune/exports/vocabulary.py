"""Vocabularies of a GGUF file: byte-level BPE (LLaMA 3, Qwen, SmolLM2) and SentencePiece (LLaMA 2, Gemma)."""

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
# The ways in which SentencePiece makes spaces letters, and whether it puts one before the text.
_SPACE = "\u2581"
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
_BEFORE = {"type": "Prepend", "prepend": _SPACE}
_SENTENCEPIECE: list[tuple[dict[str, Any], bool]] = [
    ({"normalizer": _SPACES}, False),  # Gemma
    ({"normalizer": {"type": "Sequence", "normalizers": [_BEFORE, _SPACES]}, "pre_tokenizer": None}, True),
    *(
        (
            {
                "normalizer": None,
                "pre_tokenizer": {"type": "Metaspace", "replacement": _SPACE, "split": False}
                | {"prepend_scheme": scheme},
            },
            scheme != "never",
        )
        for scheme in ("first", "always", "never")
    ),  # LLaMA 2 and Mistral 7B, as transformers 4 and 5 have them
]
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_ELSE = "export safetensors and convert them with llama.cpp's convert_hf_to_gguf.py"


class Vocabulary:
    """The tokenizer of a model folder, as far as llama.cpp can have the same."""

    def __init__(self, source: Path) -> None:
        """Read it.

        Raises:
            HfpruneError: the vocabulary is neither byte-level BPE nor SentencePiece's, or llama.cpp has no name
                for the way it splits text.
        """
        self.source = source
        self.tokenizer: Any = load_tokenizer(source)
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        known = json.loads(backend.to_str()) if backend else {"model": {"type": "no tokenizer.json"}}
        self.known: dict[str, Any] = known
        fallback = known["model"].get("byte_fallback")
        prefixes = (
            [before for form, before in _SENTENCEPIECE if form.items() <= known.items()] if fallback else []
        )
        self.space_before = next(iter(prefixes), None)
        """Whether SentencePiece puts a space before the text; None: it is byte-level BPE."""
        self.pre = "default" if prefixes else _split_name(source, known)
        pairs = known["model"]["merges"]
        self.merges: list[list[str]] = [pair.split(" ") if isinstance(pair, str) else pair for pair in pairs]
        if prefixes:
            self.scores = _scores(source, self.merges)

    def add(self, writer: GGUFWriter, size: int) -> None:
        """Add it to the metadata of a file.

        Args:
            writer: of the file.
            size: rows of the embedding; rows without a token are padding.

        Raises:
            HfpruneError: it has more tokens than rows.
        """
        tokens = {number: token for token, number in self.tokenizer.get_vocab().items()}
        if max(tokens) >= size:
            raise HfpruneError(
                f"{self.source}: the tokenizer has token {max(tokens)}, the model {size} embeddings"
            )
        kinds = dict.fromkeys(tokens, TokenType.NORMAL)
        if self.space_before is None:
            writer.add_tokenizer_model("gpt2")
            writer.add_token_merges([" ".join(pair) for pair in self.merges])
        else:
            kinds |= {number: TokenType.BYTE for number, token in tokens.items() if _BYTE.fullmatch(token)}
            writer.add_tokenizer_model("llama")
            writer.add_token_scores([self.scores.get(tokens.get(number, ""), 0.0) for number in range(size)])
        kinds |= {
            token["id"]: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
            for token in self.known["added_tokens"]
        }
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list([tokens.get(number, f"[PAD{number}]") for number in range(size)])
        writer.add_token_types([kinds.get(number, TokenType.UNUSED) for number in range(size)])
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


def _scores(source: Path, merges: list[list[str]]) -> dict[str, float]:
    """Return the score of each piece: SentencePiece merges those of the highest first, BPE the first in its list.

    Raises:
        HfpruneError: the list returns to a piece, so that no score of the piece says when to merge.
    """
    pieces = [piece for piece, _ in itertools.groupby("".join(pair) for pair in merges)]
    scores = {piece: -float(rank) for rank, piece in enumerate(pieces)}
    if len(scores) < len(pieces):
        raise HfpruneError(
            f"{source}: GGUF export: the merges of the tokenizer are not in the order of SentencePiece; {_ELSE}"
        )
    return scores


def _split_name(source: Path, known: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way in which `tokenizer.json` splits text."""
    model = known["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        kind = "this SentencePiece" if model.get("byte_fallback") else model["type"]
        raise HfpruneError(
            f"{source}: GGUF export supports vocabularies of byte-level BPE (LLaMA 3, Qwen, SmolLM2) and "
            f"SentencePiece (LLaMA 2, Mistral 7B, Gemma), not {kind}; {_ELSE}"
        )
    steps = _steps(known["pre_tokenizer"])
    name = SPLITS.get((steps, bool(model.get("ignore_merges"))))
    if name is None:
        raise HfpruneError(
            f"{source}: the tokenizer splits text in a way ({' + '.join(steps) or 'none'}) that is none of "
            f"{', '.join(SPLITS.values())}; {_ELSE}"
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
