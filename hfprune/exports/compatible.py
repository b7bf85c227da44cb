"""Config and tokenizer files that transformers 4 and 5, and what is built on either, read alike."""

import shutil
from pathlib import Path
from typing import Any

from hfprune.assets.models import LICENCES, TOKENIZER_FILES
from hfprune.files import read_json, write_json
from hfprune.models.load import load_tokenizer

TOKENIZER_CONFIG = "tokenizer_config.json"
# Written by transformers 5 alone; 4 would take them for arguments of the tokenizer.
_ONLY_5 = ("backend", "is_local", "local_files_only")


def spell_twice(config: Path) -> None:
    """Add transformers 4's spelling of rope settings and dtype to a `config.json` of transformers 5.

    Version 4 does not read `rope_parameters`. Without `rope_theta` and `rope_scaling` it takes its defaults and
    gives wrong logits. Version 5 prefers its own spelling where both are there.
    """
    known = read_json(config)
    if "dtype" in known:
        known["torch_dtype"] = known["dtype"]
    write_json(config, known | _rope_of_4(known.get("rope_parameters") or {}))


def _rope_of_4(rope: dict[str, Any]) -> dict[str, Any]:
    if "full_attention" in rope:  # one setting for each type of layer, as in Gemma 3
        local = rope.get("sliding_attention") or {}
        found = _rope_of_4(rope["full_attention"])
        return found | ({"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {})
    alone = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    scaling = {key: value for key, value in rope.items() if key not in alone}
    return alone | ({"rope_scaling": scaling} if scaling.get("rope_type", "default") != "default" else {})


def copy_files(source: Path, folder: Path) -> None:
    """Copy the tokenizer and the licence of a model folder as they are, but let transformers 4 read what 5 wrote.

    Raises:
        HfpruneError: the tokenizer of `source` does not load.
    """
    load_tokenizer(source)
    for pattern in (*TOKENIZER_FILES, *LICENCES):
        for path in source.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    path = folder / TOKENIZER_CONFIG
    if not path.is_file():
        return
    settings = before = read_json(path)
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings = {key: value for key, value in settings.items() if key not in _ONLY_5}
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    if isinstance(settings.get("extra_special_tokens"), list):
        extra = settings["extra_special_tokens"]
        settings = {key: value for key, value in settings.items() if key != "extra_special_tokens"}
        settings |= {"additional_special_tokens": extra}
    if settings != before:
        write_json(path, settings)
