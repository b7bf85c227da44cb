"""Adapters on disk: written in peft's format, and merged into the model on which they were trained."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from peft import LoraConfig, PeftModel

from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import read_json
from hfprune.provenance import check_origin
from hfprune.settings.recovery import ADAPTER, ADAPTER_CONFIG, RECOVERED

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_adapter(adapted: PeftModel, folder: Path) -> None:
    """Write the adapters of a model into a folder, in peft's format, readable by all."""
    config = cast(LoraConfig, adapted.peft_config["default"])
    config.target_modules = sorted(config.target_modules or ())  # a set, whose order changes from run to run
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / ADAPTER).chmod(0o644)  # peft leaves it readable to its owner only
    (folder / "README.md").unlink()  # an empty model card


def merge_adapter(model: "PreTrainedModel", folder: Path, inputs: dict[str, Path]) -> "PreTrainedModel":
    """Add an adapter to the weights of the model, in its dtype, and return the plain model.

    Args:
        model: the dense model, with the plan applied if the adapter was trained on a pruned one.
        folder: written by `save_adapter`.
        inputs: the files that `model` comes from: `model` and, if there is one, `plan` or `checkpoint`.

    Raises:
        HfpruneError: there is no adapter, or it was trained on another model, plan or checkpoint.
    """
    if not (folder / ADAPTER).is_file() or not (folder / ADAPTER_CONFIG).is_file():
        raise HfpruneError(f"{folder}: not an adapter; make one with `hfprune recover`")
    if (folder / RECOVERED).is_file():  # other tools keep no such record
        recorded = read_json(folder / RECOVERED)["provenance"]["inputs"]
        check_origin(folder, recorded, ("model", "plan", "checkpoint", "linear"), inputs)
    # Whatever a foreign or damaged adapter makes peft raise.
    with explained(f"{folder}: the adapter does not fit the model ({REASON})", Exception, most=300):
        merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload(safe_merge=True)
    return merged.eval().requires_grad_(False)
