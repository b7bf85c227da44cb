"""The precision in which a processor computes a model faster, timed once for a folder and remembered there."""

from pathlib import Path

from hfprune.cost.timed import DTYPES, mlp_seconds, step_seconds
from hfprune.devices.known import visible_device
from hfprune.files import read_json, write_json
from hfprune.pruning.sample import STEPS
from hfprune.settings import Dtype

REMEMBERED, DECODING = "dtype.json", "dtype-decoding.json"
# bfloat16 rounds and float32 takes twice the memory, so a change has to be worth it.
WORTH = 1.2


def faster_dtype(model: Path, folder: Path, *, decoding: bool = False) -> Dtype:
    """Return bfloat16 on a GPU, or where an MLP of the model is `WORTH` times as fast in it; else float32.

    Instructions alone do not tell: processors with the same ones differ in which precision is faster. A call
    that resumes finds what the first one found.

    Args:
        model: folder of the dense model.
        folder: where the answer is kept, with the times in seconds.
        decoding: whether for the sample's steps of decoding, which wait for weights; then it is the precision of
            passes where the other is not `WORTH` times as fast.
    """
    if visible_device():
        return "bfloat16"
    path = folder / (DECODING if decoding else REMEMBERED)
    if not path.is_file():
        usual: Dtype = "float32"
        if decoding:
            usual = faster_dtype(model, folder)
            steps = step_seconds(model, [*STEPS])
            seconds = {
                dtype: sum(STEPS[batch] * each[batch] for batch in STEPS) for dtype, each in steps.items()
            }
        else:
            seconds = mlp_seconds(model)
        (other,) = {*DTYPES} - {usual}
        faster = other if seconds[usual] > WORTH * seconds[other] else usual
        write_json(path, {"dtype": faster, "seconds": seconds})
    return read_json(path)["dtype"]
