"""Prune a model of one's own: everything from its weights to a checkpoint, and what was lost, in one call."""

import os
from typing import TYPE_CHECKING, Any

from hfprune.pruning.config import Pruning
from hfprune.pruning.runner import take_all
from hfprune.settings import validate

if TYPE_CHECKING:
    from hfprune.analysis.before_after import Row
    from hfprune.page.pruned import Outcome


def prune(
    model: str | os.PathLike[str], ratio: float, out: str | os.PathLike[str], **options: Any
) -> "list[Row]":
    """Prune a model and compare it with the dense one, as `hfprune prune` does.

    Args:
        model: a name of the catalogue, a folder, a `.gguf` file or a hub id.
        ratio: fraction of all parameters to remove.
        out: folder that gets `model` (a checkpoint with its card), `report.html` and `work`.
        options: the other flags of the command, such as `criterion="magnitude"`, `text="my.jsonl"`, `seed=1`.

    Returns:
        The rows of the comparison: perplexity, distance, bits per byte by capability, sizes and speeds; without
        `compare`, the sizes alone.

    Raises:
        HfpruneError: a mistake in the arguments, a model that cannot be pruned, a text that is too short, a folder
            that holds something else, or a full disk.
    """
    given = {"model": os.fspath(model), "ratio": ratio, "out": os.fspath(out)} | options
    return compared(validate(Pruning, given, "prune")).rows


def compared(config: Pruning) -> "Outcome":
    """Prune, and return the comparison with its sentences."""
    from hfprune.page.pruned import Outcome, write_pruned_page
    from hfprune.pruning.comparing import Comparing
    from hfprune.pruning.folder import MODEL, REPORT, claimed

    comparing = Comparing(config)
    with claimed(config.out, config.model_dump(mode="json")) as work:
        seconds = take_all(comparing.steps(), work / "steps", work / "log.txt")
        rows = comparing.rows()
        outcome = Outcome(rows, comparing.verdict(rows), comparing.sample())
        write_pruned_page(
            config.out / REPORT, config.out / MODEL, outcome, comparing.pipeline.settings(), seconds
        )
    return outcome
