"""Models: folders with config, tokenizer and complete safetensors files, which `from_pretrained` loads."""

import os
import shutil
import struct
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from hfprune.assets.catalogue import Asset, HubSource, ModelAsset, RoundedSource, Source
from hfprune.assets.formats import Facts
from hfprune.assets.rounded import add_noise
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import read_json, share

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "model*.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
TOKENIZER_FILES = (
    *(*TOKENIZERS, "merges.txt", "added_tokens.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "chat_template.jinja", "chat_template.json"),
)
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
# No pickled weights, no code, and no second copy of the weights in another format.
TRANSFORMERS_FILES = (
    WEIGHTS,
    INDEX,
    *TOKENIZER_FILES,
    "config.json",
    "generation_config.json",
    "README.md",  # states the licence
    *LICENCES,
)


def write_model(name: str, asset: ModelAsset, files: list[Path], folder: Path) -> Facts:
    """Write a dense model as safetensors with config and tokenizer; a GGUF file is dequantised to float32.

    Raises:
        HfpruneError: the source lacks a file, or has a damaged one.
    """
    about = next((file for file in files if file.name == "asset.json"), None)
    files = [file for file in files if any(fnmatch(file.name, pattern) for pattern in wanted_files(asset))]
    if asset.format == "gguf":
        return _dequantise(name, files, folder)
    _check(name, files)
    noise = asset.source if isinstance(asset.source, RoundedSource) else None
    for file in files:
        if noise and fnmatch(file.name, WEIGHTS):
            add_noise(file, folder / file.name, noise)
        else:
            _place(file, folder / file.name, asset.source)
    return _of_base(about) if noise and about else {}


def _of_base(record: Path) -> Facts:
    """Return the base's facts for the record of a rounded model: hashes of its files, and its licence."""
    described = read_json(record)
    facts: Facts = {"base": {name: file["sha256"] for name, file in described["files"].items()}}
    if "license" in described:
        facts["license"] = described["license"]
    return facts


def wanted_files(asset: Asset) -> tuple[str, ...]:
    """Return patterns for the files of a model in its format; none for other assets, which list their files."""
    if not isinstance(asset, ModelAsset):
        return ()
    return ("*.gguf",) if asset.format == "gguf" else TRANSFORMERS_FILES


def _place(file: Path, target: Path, source: Source) -> None:
    """Copy a local file, since its owner may edit it; link one in the hub's cache: a 7B model has 13 GB."""
    if isinstance(source, HubSource):
        with suppress(OSError):  # the cache is on another file system
            return os.link(file.resolve(), target)
    shutil.copyfile(file, target)


def _dequantise(name: str, files: list[Path], folder: Path) -> Facts:
    """Write the model and tokenizer of a GGUF file to a folder; return its licence, if the file states one."""
    if len(files) != 1:
        raise HfpruneError(f"model {name!r}: needs exactly one .gguf file, its source holds {len(files)}")
    import torch
    from gguf import GGUFReader
    from tokenizers import normalizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, Qwen2Tokenizer

    parent, file = files[0].parent, files[0].name
    # Without this configuration, layers may stay packed, and then the model cannot be saved.
    plain = GgufConfig(dequantize=True)
    text = (
        f"model {name!r}: transformers cannot read {files[0]}: {REASON}; "
        "fetch or copy it again if it is damaged, or use a safetensors repository"
    )
    with explained(text, ValueError, struct.error):
        model = AutoModelForCausalLM.from_pretrained(
            parent, gguf_file=file, quantization_config=plain, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(parent, gguf_file=file)
    if isinstance(tokenizer, Qwen2Tokenizer):
        # Qwen has no BOS token, though the file names one for llama.cpp. And Qwen normalises text before it
        # splits it, which a GGUF cannot record.
        tokenizer.bos_token = None
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    _tie_again(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    share(folder)  # transformers leaves the weights readable to their owner only
    licence = GGUFReader(files[0]).get_field("general.license")
    return {"license": licence.contents()} if licence else {}


def _tie_again(model: "PreTrainedModel") -> None:
    """Tie head and embeddings again where a GGUF holds their one matrix twice, in two precisions.

    llama.cpp stores the head of a tied model separately to give it more bits. The head's values are kept. Two
    matrices trained separately differ by more than their own norm, two precisions of one by a few per cent.
    """
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if embeddings.weight is head.weight or embeddings.weight.shape != head.weight.shape:
        return
    if (embeddings.weight - head.weight).norm() > 0.3 * head.weight.norm():
        return
    embeddings.weight = head.weight
    model.config.tie_word_embeddings = True
    # This mapping decides which weights are saved once; it was made before the setting changed.
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)


def _check(name: str, files: list[Path]) -> None:
    """Fail unless config, tokenizer and all weight files are present and the weight files are complete."""
    present = {file.name: file for file in files}
    weights = [file for file in files if fnmatch(file.name, WEIGHTS)]
    indexed = set(read_json(present[INDEX])["weight_map"].values()) if INDEX in present else set()
    lacks = [
        *([] if "config.json" in present else ["config.json"]),
        *([] if any(file in present for file in TOKENIZERS) else [f"tokenizer ({' or '.join(TOKENIZERS)})"]),
        *([] if weights else [f"{WEIGHTS} (pickled weights are not loaded; convert them)"]),
        *sorted(indexed - set(present)),
    ]
    if lacks:
        raise HfpruneError(f"model {name!r}: its source lacks {', '.join(lacks)}; fetch or copy it again")
    for file in weights:
        # The resolved path, because deleting a link in the hub's cache would not delete the damaged file.
        damaged = f"{file.resolve()} is truncated or damaged ({REASON}); delete it and fetch or copy it again"
        with explained(f"model {name!r}: {damaged}", SafetensorError), safe_open(file, framework="np"):
            pass  # Opening checks the header against the size of the file.
