"""Exports of one size beside the dense model: bytes on disk, and the speed of all in turns; writes `exports.md`.

A model is pruned to the same number of parameters with equal and with unequal widths. Of the second, the compact
and the padded export are timed. Every round takes all four in an order of its own; a ratio is that of two medians
over rounds. On a processor the time is that of one thread, without what other programs take.
"""

import argparse
import random
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from tqdm import tqdm

import hfprune
from hfprune.evaluation.timing import decode, median_value, prefill, timed
from hfprune.models.load import load_model
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.rounding import percent
from hfprune.runs import hardware
from hfprune.stages.export import Export

HERE = Path(__file__).parent
SPEEDS = ("prefill", "decoding")


def exports(model: Path, ratio: float, allocation: str, out: Path) -> dict[str, Path]:
    """Prune twice by the same scores, equally and by `allocation`, and return the folders of all sides."""
    found = {"dense": model}
    for name, rule in (("uniform", "uniform"), ("compact", allocation)):
        settings = {"criterion": "wanda", "linear": False, "compare": False, "dtype": "float32"}
        hfprune.prune(model, ratio, out / name, allocation=rule, **settings)
        found[name] = out / name / "model"
    (plan,) = (out / "compact/work/plans").rglob("*.safetensors")
    Export(model=model, plan=plan, plain=True, out=out / "padded").run()
    return found | {"padded": out / "padded"}


def seconds(work: Callable[[], object]) -> float:
    if torch.cuda.is_initialized():
        return timed(work)[0]
    start = time.process_time()
    work()
    return time.process_time() - start


def rounds(models: dict[str, torch.nn.Module], length: int, new: int, repeats: int) -> pd.DataFrame:
    """Time the prefill of one prompt, and decoding after it, in turns; a row a round, in seconds."""
    prompt = torch.randint(1000, (1, length), generator=torch.Generator().manual_seed(0))
    read = {name: prefill(model, prompt.to(model.device)) for name, model in models.items()}
    order, rows = random.Random(0), []
    for _ in tqdm(range(1 + repeats), desc="rounds"):
        row: dict[str, float] = {}
        for name in order.sample([*models], len(models)):
            model, (first, cache) = models[name], read[name]
            row[f"{name} prefill"] = seconds(partial(prefill, model, prompt.to(model.device)))
            row[f"{name} decoding"] = seconds(partial(decode, model, first, deepcopy(cache), new))
        rows.append(row)
    return pd.DataFrame(rows[1:])  # the first warms up


def ratio(times: pd.DataFrame, speed: str, ours: str, theirs: str) -> str:
    """Return how many times as fast `ours` is as `theirs`, with its 95 % interval over rounds."""
    found = median_value(speed, times[f"{theirs} {speed}"], times[f"{ours} {speed}"])
    half = 1.96 * (found.stderr or 0)
    return f"{found.value:.2f} [{found.value - half:.2f}, {found.value + half:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("resources/models/smollm2-135m-instruct-q4"))
    parser.add_argument("--ratio", type=float, default=0.2)
    parser.add_argument("--allocation", default="global")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--length", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--new", type=int, default=32, help="tokens decoded after it")
    parser.add_argument("--repeats", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        sides = exports(given.model, given.ratio, given.allocation, Path(folder))
        models = {name: load_model(path, given.dtype) for name, path in sides.items()}
        sizes = {
            name: sum(x.stat().st_size for x in path.glob("*.safetensors")) for name, path in sides.items()
        }
    times = rounds(models, given.length, given.new, given.repeats)
    against = {name: "dense" for name in sides} | {"compact, beside uniform": "uniform"}
    rows = []
    for name, other in against.items():
        side = name.partition(",")[0]
        widths = [mlp.count for mlp in gated_mlps(models[side])]
        said = [f"{min(widths):,} to {max(widths):,}", f"{count_parameters(models[side]) / 1e6:.2f}"]
        said += [f"{sizes[side] / 1e6:.1f}", f"{sizes[side] / sizes[other]:.3f}"]
        said += [ratio(times, speed, side, other) if side != other else "1" for speed in SPEEDS]
        rows.append([name, *said])
    headers = ["export", "widths", "million parameters", "MB", "size, ratio", "prefill, times as fast"]
    table = pd.DataFrame(rows, columns=[*headers, "decoding, times as fast"]).to_markdown(index=False)
    about = (
        f"`{given.model.name}`, {percent(given.ratio)} removed by Wanda, unequal widths by `{given.allocation}`, "
        f"{given.dtype}; a prompt of {given.length} tokens, {given.new} decoded after it; {given.repeats} rounds, "
        f"on {', '.join(hardware()['cuda'] or [hardware()['processor']])}."
    )
    (HERE / "exports.md").write_text(f"{about}\n\n{table}\n")
    print(about, table, sep="\n\n")


if __name__ == "__main__":
    main()
