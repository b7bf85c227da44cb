"""Dense models of the families, as transformers 5 saves them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from families import build
from smoke import build_tokenizer
from tokenizers import Regex, pre_tokenizers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's dense model, as transformers 5 saves it."""
    root = tmp_path_factory.mktemp("dense")
    tokenizer = build_tokenizer()
    # transformers 5 splits text so in every Qwen2, whatever its files say.
    words = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<s>"]})

    def folder(family: str) -> Path:
        if not (root / family).exists():
            build(family).save_pretrained(root / family)
            tokenizer.save_pretrained(root / family)
        return root / family

    return folder
