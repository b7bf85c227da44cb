"""The file of an unfinished pass, from which a killed run resumes."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file

from hfprune.provenance import save_tensors, unfinished
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
    save_tensors(path, tensors, identity=identity, done=str(done), curves=curves)


def restore_state(path: Path, identity: str, scorers: Sequence[Scorer]) -> int:
    """Restore what `save_state` saved and return the number of sequences read; 0 without a state of this pass."""
    about = unfinished(path, identity)
    if not about:
        return 0
    for name, tensor in load_file(path).items():
        index, _, own = name.partition("/")
        scorer = scorers[int(index)]
        scorer.statistics.restore({own: tensor.to(scorer.units[own.partition("/")[2]].device)})
    for scorer, curve in zip(scorers, json.loads(about["curves"]), strict=True):
        scorer.curve = curve
    return int(about["done"])
