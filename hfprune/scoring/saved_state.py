"""The file of an unfinished pass, from which a killed run resumes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from hfprune.provenance import save_tensors, unfinished
from hfprune.scoring.samples import Scorer

# A larger state, such as sums of weight gradients, takes longer to save than to compute again.
STATE_BYTES = 2**30


def save_state(
    path: Path,
    identity: str,
    done: int,
    scorers: Sequence[Scorer],
    between: Mapping[int, Tensor] | None = None,
) -> None:
    """Save a pass that has read `done` sequences atomically, unless its state is larger than `STATE_BYTES`.

    Only a pass with the same `identity` (model, blocks and settings) may resume from here. In a pass
    layer by layer, `done` counts layers, and `between` maps the first sequence of a batch to their output for it.
    """
    tensors = {
        f"{index}/{number}/{name}/{key}": x
        for index, scorer in enumerate(scorers)
        for number, sample in enumerate(scorer.samples)
        for name, part in sample.parts().items()
        for key, x in part.items()
    }
    # Three forms of names, by their number of parts: statistics, shares of layers, and states between layers.
    tensors |= {f"{index}/{layer}": x for index, of in enumerate(scorers) for layer, x in of.layers.items()}
    tensors |= {str(first): x for first, x in (between or {}).items()}
    if sum(x.nbytes for x in tensors.values()) < STATE_BYTES:
        curves = json.dumps([[sample.curve for sample in scorer.samples] for scorer in scorers])
        tensors = {name: x.cpu() for name, x in tensors.items()}
        save_tensors(path, tensors, identity=identity, done=str(done), curves=curves)


def restore_state(
    path: Path | None, identity: str, scorers: Sequence[Scorer]
) -> tuple[int, dict[int, Tensor]]:
    """Restore what `save_state` saved, and return `done` and `between`; 0 and {} without a state of this pass."""
    if not path or not (about := unfinished(path, identity)):
        return 0, {}
    between = dict[int, Tensor]()
    for name, tensor in load_file(path).items():
        match name.split("/"):
            case [index, number, part, key]:
                scorer = scorers[int(index)]
                scorer.samples[int(number)].parts()[part][key] = tensor.to(scorer.units[key].device)
            case [index, layer]:
                scorers[int(index)].layers[int(layer)] = tensor
            case [first]:
                between[int(first)] = tensor
    for scorer, curves in zip(scorers, json.loads(about["curves"]), strict=True):
        for sample, curve in zip(scorer.samples, curves, strict=True):
            sample.curve = curve
    return int(about["done"]), between
