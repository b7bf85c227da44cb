"""Compare our linear recovery with GRAIL's own function, on the same Gram matrices; writes `grail.md`.

GRAIL is no package: `make parity` checks github.com/TWWinde/GRAIL_Compensation out at a pinned commit.
"""

import contextlib
import io
import operator
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from parity import RATIO, asked
from torch import Tensor, nn

from hfprune.criteria.magnitude import Magnitude
from hfprune.models.grams import Moments, batches_of, grams
from hfprune.models.load import load_model
from hfprune.models.units import units_of
from hfprune.plans.planning import make_plan
from hfprune.recovery.least_squares import change, lost
from hfprune.scoring.score import score

COLUMNS = ["λ", "GRAIL", "median difference", "largest difference"]
RIDGES = (1e-3, 1e-1)
# Its λ is relative to the mean of the diagonal and this.
ADDED = 1e-3
Function = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def of_checkout(checkout: Path) -> Function:
    """Return GRAIL's function: weights from dense weights, a Gram matrix, the kept inputs and λ as we mean it."""
    spec = spec_from_file_location("grail", checkout / "grail-llm/lib/compensation.py")
    assert spec and spec.loader
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)

    def weights(weight: Tensor, gram: Tensor, kept: Tensor, ridge: float) -> Tensor:
        mean = gram.diagonal()[kept].mean()
        layer = nn.Linear(len(kept), len(weight), bias=False, dtype=weight.dtype)
        grail = module.MagnitudeCompensator(layer, float(ridge * mean / (mean + ADDED)))
        grail.load_gram_stats({"it": gram})
        entry = {"name": "it", "module": layer, "weight_full": weight, "in_keep": kept}
        grail.load_compression_state([entry])
        with contextlib.redirect_stdout(io.StringIO()):
            grail.compensate()
        return layer.weight.detach().double()

    return weights


def compare(theirs: Function, model: Any, blocks: Tensor) -> pd.DataFrame:
    """Return rows with `COLUMNS`: by λ and way, differences over places, relative to the norm of our change."""
    scores = score({"it": Magnitude()}, model)["it"].scores
    plan, units = make_plan(model, scores, RATIO), units_of(model, ["neurons"])
    sums = {
        place: operator.add(*both)
        for place, *both in grams(model, batches_of(blocks, None, 512), [*units.values()])
    }
    wide = {at: Moments(x.tokens, x.gram.double(), x.total.double()) for at, x in sums.items()}
    layers = [(units[at].linears[-1].weight.double(), moments, plan[at]) for at, moments in wide.items()]
    return pd.DataFrame((row for ridge in RIDGES for row in _rows(theirs, layers, ridge)), columns=COLUMNS)


def _rows(
    theirs: Function, layers: list[tuple[Tensor, Moments, Tensor]], ridge: float
) -> Iterator[tuple[float, str, float, float]]:
    found: dict[str, list[float]] = {}
    for weight, moments, kept in layers:
        ours, _ = change(lost(weight, moments, kept), ridge)
        removed = weight.index_fill(1, kept, 0)
        ways = {
            "as published, on what was removed": theirs(removed.float(), moments.gram, kept, ridge),
            "as published": theirs(weight.float(), moments.gram, kept, ridge) - weight[:, kept],
        }
        with patch.object(Tensor, "float", Tensor.double):
            ways["in float64, on what was removed"] = theirs(removed, moments.gram, kept, ridge)
        for way, change_there in ways.items():
            found.setdefault(way, []).append(float((change_there - ours).norm() / ours.norm()))
    for way, apart in found.items():
        yield ridge, way, float(torch.tensor(apart).median()), max(apart)


PAGE = """# Linear recovery beside GRAIL

`make parity` writes this page: the change of weights that our linear recovery solves, beside that of GRAIL's own function on
the same Gram matrices, in {about}
({places} layers), where magnitude removes 20 % of all parameters. Differences are relative to the norm of our change.

GRAIL's ridge draws all weights to zero, ours their change, so that λ → ∞ is the plain plan. Given the weights that were
removed alone, GRAIL's function makes our change, up to its float32; in float64, to {largest}.

{table}
"""  # noqa: E501


def main() -> None:
    """Compare, and write the page."""
    given, blocks, about = asked(__doc__, "benchmarks/grail.md", ["grail"], sequences=64, length=64)
    model = load_model(given.model, "float32", torch.device("cpu"))
    table = compare(of_checkout(given.grail), model, blocks)
    exact = table[table["GRAIL"].str.contains("float64")]["largest difference"].max()
    shown = table.to_markdown(index=False, floatfmt=("g", "", ".0e", ".0e"))
    places = model.config.num_hidden_layers
    given.out.write_text(
        PAGE.format(about=about, places=places, largest=f"{exact:.0e}", table=shown), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
