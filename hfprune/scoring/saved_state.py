"""The file of an unfinished pass, from which a killed run resumes."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file

from hfprune.provenance import save_tensors, unfinished
from hfprune.scoring.samples import Scorer

# A larger state, such as sums of weight gradients, takes longer to save than to compute again.
STATE_BYTES = 2**30


def save_state(path: Path, identity: str, done: int, scorers: Sequence[Scorer]) -> None:
    """Save a pass that has read `done` sequences atomically, unless its statistics are larger than `STATE_BYTES`.

    Only a pass with the same `identity` (model, blocks and settings) may resume from here.
    """
    tensors = {
        f"{index}/{number}/{name}/{key}": x
        for index, scorer in enumerate(scorers)
        for number, sample in enumerate(scorer.samples)
        for name, part in sample.parts().items()
        for key, x in part.items()
    }
    if sum(x.nbytes for x in tensors.values()) < STATE_BYTES:
        curves = json.dumps([[sample.curve for sample in scorer.samples] for scorer in scorers])
        tensors = {name: x.cpu() for name, x in tensors.items()}
        save_tensors(path, tensors, identity=identity, done=str(done), curves=curves)


def restore_state(path: Path, identity: str, scorers: Sequence[Scorer]) -> int:
    """Restore what `save_state` saved and return the number of sequences read; 0 without a state of this pass."""
    about = unfinished(path, identity)
    if not about:
        return 0
    for name, tensor in load_file(path).items():
        index, number, part, key = name.split("/")
        scorer = scorers[int(index)]
        scorer.samples[int(number)].parts()[part][key] = tensor.to(scorer.units[key].device)
    for scorer, curves in zip(scorers, json.loads(about["curves"]), strict=True):
        for sample, curve in zip(scorer.samples, curves, strict=True):
            sample.curve = curve
    return int(about["done"])
