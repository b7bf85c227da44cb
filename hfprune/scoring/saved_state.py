"""The file of an unfinished pass, from which a killed run resumes."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from hfprune.files import atomic_file
from hfprune.scoring.scorer import Scorer

# A larger state, such as sums of weight gradients, takes longer to save than to compute again.
STATE_BYTES = 2**30


def save_state(path: Path, identity: str, done: int, scorers: Sequence[Scorer]) -> None:
    """Save a pass that has read `done` sequences atomically, unless its statistics are larger than `STATE_BYTES`.

    Args:
        path: safetensors file.
        identity: identifies model, blocks and settings; only the same pass may resume from here.
        done: number of sequences read.
        scorers: those of the pass.
    """
    states = [scorer.statistics.state() for scorer in scorers]
    if sum(x.nbytes for state in states for x in state.values()) >= STATE_BYTES:
        return
    tensors = {f"{index}/{name}": x.cpu() for index, state in enumerate(states) for name, x in state.items()}
    curves = json.dumps([scorer.curve for scorer in scorers])
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"identity": identity, "done": str(done), "curves": curves})


def restore_state(path: Path, identity: str, scorers: Sequence[Scorer]) -> int:
    """Restore what `save_state` saved and return the number of sequences read; 0 without a state of this pass."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        about = file.metadata()
        if about["identity"] != identity:
            return 0
        for name in file.keys():  # noqa: SIM118 (not a dict)
            index, _, own = name.partition("/")
            scorer = scorers[int(index)]
            device = scorer.units[own.partition("/")[2]].device
            scorer.statistics.restore({own: file.get_tensor(name).to(device)})
    for scorer, curve in zip(scorers, json.loads(about["curves"]), strict=True):
        scorer.curve = curve
    return int(about["done"])
