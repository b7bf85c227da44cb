"""Files of scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from hfprune.errors import HfpruneError, explained
from hfprune.provenance import save_tensors
from hfprune.runs import Provenance
from hfprune.settings.units import kind_of

# Place (`mlp.<layer>`, `attention.<layer>` or `layers`) → float64 vector [units].
Scores = dict[str, Tensor]


def save_scores(path: Path, scores: Scores, provenance: Provenance, *, removed: bool = False) -> None:
    """Write scores atomically as safetensors, one float64 tensor [units] for each place.

    If earlier steps have `removed` units, these have -inf; all other scores must be finite.

    Raises:
        HfpruneError: a score is not finite; names the place.
    """
    for place, values in scores.items():
        if not (values.isfinite() | (values.isneginf() & removed)).all():
            raise HfpruneError(f"scores {place} are not finite; nothing was written to {path}")
    tensors = {place: values.to("cpu", torch.float64).contiguous() for place, values in scores.items()}
    save_tensors(path, tensors, provenance)


def save_resampled(path: Path, resampled: Sequence[Mapping[str, Tensor]], provenance: Provenance) -> None:
    """Write the scores or plans of each resampled calibration atomically, as `<number>/<place>`, from 1.

    Scores become float32, plans int32: a resample is measured, and never scored or cut again.
    """
    tensors = {
        f"{number}/{place}": x.to("cpu", torch.float32 if x.is_floating_point() else torch.int32).contiguous()
        for number, by_place in enumerate(resampled, 1)
        for place, x in by_place.items()
    }
    save_tensors(path, tensors, provenance)


def load_resampled(path: Path) -> list[dict[str, Tensor]]:
    """Read what `save_resampled` wrote: the tensors by place of each resample, in order; there may be none.

    Raises:
        HfpruneError: the file was not written by `save_resampled`.
    """
    resampled: dict[int, dict[str, Tensor]] = {}
    text = (
        f"{path}: not resampled scores or plans; make them with `hfprune score --resamples` and "
        "`hfprune plan --resampled`"
    )
    with explained(text, Exception):  # whatever a foreign file makes safetensors raise
        for name, tensor in load_file(path).items():
            number, _, place = name.partition("/")
            by_place = resampled.setdefault(int(number), {})
            by_place[place] = tensor if tensor.is_floating_point() else tensor.long()
        return [resampled[number] for number in sorted(resampled)]


def load_scores(path: Path, kinds: Sequence[str] = ("neurons",)) -> Scores:
    """Read the scores of these kinds of unit, kind by kind, first layer to last; other kinds are skipped.

    Raises:
        HfpruneError: the file holds no scores, or none of one of the kinds.
    """
    # Whatever a foreign file makes safetensors raise.
    with explained(f"{path}: not scores; make them with `hfprune score`", Exception):
        tensors = load_file(path)
        by_kind = {kind: [place for place in tensors if kind_of(place) == kind] for kind in kinds}
    for kind, places in by_kind.items():
        if not places:
            remedy = f"make them with `hfprune score --units {' '.join(kinds)}`"
            raise HfpruneError(f"{path}: holds no scores of {kind}; {remedy}")
    return {
        place: tensors[place]
        for places in by_kind.values()
        for place in sorted(places, key=lambda place: int(place.partition(".")[2] or 0))
    }
