"""Dense models of all families as folders, what is exported of them, and transformers 4."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HEADS
from families import FAMILIES, WIDTHS, build, cut
from smoke import build_tokenizer
from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedModel
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from hfprune.exports.checkpoint import export

OLD = ("transformers==4.57.6", "tokenizers==0.22.2", "huggingface_hub==0.36.2")
GROUPS = [4, 3, 1]


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


@pytest.fixture(scope="session")
def exported(tmp_path_factory, dense) -> dict[Path, PreTrainedModel]:
    """The exports of all families in every shape, and the models in memory.

    Those with unequal widths are compact, and padded beside it; those with unequal groups are compact.
    """
    root, found = tmp_path_factory.mktemp("exported"), {}
    for family in FAMILIES:
        for shape, widths in WIDTHS.items():
            model = found[root / f"{family}-{shape}"] = cut(build(family), widths)
            export(model, dense(family), root / f"{family}-{shape}")
        found[root / f"{family}-padded"] = model
        export(model, dense(family), root / f"{family}-padded", plain=True)
        model = cut(build(family, **HEADS["gqa"]), WIDTHS["unequal"], GROUPS)
        found[root / f"{family}-groups"] = model
        export(model, dense(family), root / f"{family}-groups")
    return found


@pytest.fixture(scope="session")
def transformers_4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with transformers 4, to be put before this environment, which has torch."""
    target = tmp_path_factory.mktemp("transformers4")
    flags = ("--quiet", "--no-deps", "--no-compile", "--target", target)
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, *OLD], check=True)
    return target
