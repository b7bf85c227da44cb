"""Compare what fidelity and perplexity of a pruned cell take: as `hfprune measure` does it, and in the plain way.

We take both of one subject. The plain way loads the dense model beside the pruned one for fidelity, and each
pruned model again for perplexity; with resampled plans, one pruned model for each plan. Prints the rows of
`bench.py`.
"""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from plain import plain_fidelity, plain_losses
from sides import SIDES, Row, against, held, memory, peak
from transformers import AutoModelForCausalLM

from hfprune.assets.text import Text
from hfprune.criteria.magnitude import Magnitude
from hfprune.devices.lease import default_device
from hfprune.evaluation.measured_model import Subject
from hfprune.evaluation.measuring import CellToMeasure, measure_cells, with_batch_size
from hfprune.measures.fidelity import Fidelity
from hfprune.measures.perplexity import Perplexity
from hfprune.models.load import load_model, load_skeleton, load_tokenizer
from hfprune.models.units import count_parameters
from hfprune.plans.planning import Plan, apply_plan, make_plan
from hfprune.results import Cell
from hfprune.scoring.scored import score

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHAT, RATIO, TOP_K, RESAMPLES = "fidelity and perplexity", 0.2, 15, (0, 4)
# What masked, chunked and plain computation may differ by in float32: a top token that changes places moves the
# Jaccard index of a block by a thousandth.
TOLERANCE = 2e-3


class Pruned(NamedTuple):
    """A pruned cell, and the text on which it is measured."""

    model: Path
    """Folder of the dense model."""
    resources: Path
    text: Text
    plans: list[Plan]
    """The cell's own, and then the resampled ones."""


def pruned_cell(model: Path, resources: Path, sequences: int, length: int, resamples: int) -> Pruned:
    """Prune by magnitude, and for every resampled plan by magnitudes that chance changes by up to a tenth."""
    dense = load_model(model, "float32", torch.device("cpu"))
    scores, chance = score({"it": Magnitude()}, dense, None)["it"].scores, torch.Generator().manual_seed(0)
    plans = [
        make_plan(
            dense,
            {at: x * (1 + 0.1 * torch.rand(len(x), generator=chance)) for at, x in scores.items()},
            RATIO,
        )
        for _ in range(1 + resamples)
    ]
    text = Text(corpus="c4-sample-heldout", sequences=sequences, length=length)
    return Pruned(model, resources, text, plans)


def ours(cell: Pruned) -> np.ndarray:
    """Take both measures of one subject; return their items, float64 [plans, blocks, metrics]."""
    text = cell.text.model_dump()
    measures = {"fidelity": Fidelity(**text, top_k=TOP_K), "perplexity": Perplexity(**text)}
    dense = partial(load_model, cell.model, "float32")
    subject = Subject(
        None,
        dense,
        change=partial(cut, plan=cell.plans[0]),
        tokenizer=lambda: load_tokenizer(cell.model),
        resources=cell.resources,
        resampled=cell.plans[1:],
    )
    named = Cell("by-hand", cell.model.name, "magnitude", RATIO, 0, "none")
    with TemporaryDirectory() as out:
        made = {name: with_batch_size(measure) for name, measure in measures.items()}
        measure_cells(
            made, [CellToMeasure(subject, named, Path(out), {"model": cell.model})], dtype="float32"
        )
        tables = [pd.read_parquet(Path(out) / f"{name}.parquet") for name in measures]
    columns = [table.drop(columns=["item", "document", "resample"], errors="ignore") for table in tables]
    return np.concatenate(columns, 1).reshape(len(cell.plans), cell.text.sequences, -1)


def reference(cell: Pruned) -> np.ndarray:
    """Measure in the plain way; return the same as `ours`."""
    plain = partial(_plain_model, cell.model)
    reader = Subject(plain, tokenizer=lambda: load_tokenizer(cell.model), resources=cell.resources)
    blocks = reader.blocks(cell.text).tokens.to(default_device())
    dense = plain()
    distances = [plain_fidelity(dense, cut(plain(), plan), blocks, TOP_K) for plan in cell.plans]
    del dense
    losses = [plain_losses(cut(plain(), plan), blocks) for plan in cell.plans]
    pairs = zip(distances, losses, strict=True)
    return np.stack([torch.cat([d, nll.unsqueeze(1)], 1).double().cpu().numpy() for d, nll in pairs])


def _plain_model(path: Path) -> "PreTrainedModel":
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).to(default_device()).eval()


def cut(model: "PreTrainedModel", plan: Plan) -> "PreTrainedModel":
    """Cut a dense model in place, and return it."""
    apply_plan(model, plan)
    return model


def rows(model: Path, resources: Path, sequences: int, length: int, repeats: int) -> list[Row]:
    """Return the rows of time and of memory, with and without resampled plans.

    Raises:
        SystemExit: the numbers of both sides differ.
    """
    found = []
    for resamples in RESAMPLES:
        cell = pruned_cell(model, resources, sequences, length, resamples)
        task = f"{sequences} × {length} tokens" + f", {resamples} resampled plans" * bool(resamples)
        # Also the warm-up.
        if not np.allclose(ours(cell), reference(cell), rtol=TOLERANCE, atol=TOLERANCE):
            raise SystemExit(f"{WHAT}, {task}: the numbers differ from those of the plain way")
        work = partial(reference, cell), partial(ours, cell)
        found.append(against(WHAT, task, *work, repeats, warm_up=False))
        flags = ("--model", model, "--resources", resources, "--sequences", sequences, "--length", length)
        found.append(memory(f"{WHAT}, {task}", __file__, *flags, "--resamples", resamples))
    return found


def peak_above_weights(cell: Pruned, side: str) -> float:
    """Return the peak memory of one side in bytes, above the weights of one dense model."""
    before = held() + 4 * count_parameters(load_skeleton(cell.model))
    return peak(partial(ours if side == "ours" else reference, cell)) - before


def main() -> None:
    """Print the rows, or the peak of one side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("resources/models/smollm2-135m-instruct-q4"))
    parser.add_argument("--resources", type=Path, default=Path("resources"))
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--peak", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    text = given.sequences, given.length
    if given.peak:
        print(
            peak_above_weights(pruned_cell(given.model, given.resources, *text, given.resamples), given.peak)
        )
        return
    found = rows(given.model, given.resources, *text, given.repeats)
    print(pd.DataFrame(found).to_markdown(index=False, floatfmt=".3g"))


if __name__ == "__main__":
    main()
