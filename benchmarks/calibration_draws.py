"""Variation between calibration samples: over real draws, and as folds of a single draw tell it.

Draws 16 calibrations of 32 and of 128 sequences, with replacement from 600, so that each draw is independent
of the others, given the 600. Half of them are also resampled by folds (`hfprune.scoring.folds`), and
jackknifed: each fold left out once. Every plan's JS distance to the dense model is taken on the same text.
Writes `calibration_draws.csv`, a row a plan, and `calibration_draws.md` beside this file. A killed run
resumes, but for the scores of the sequences (ten minutes):

    hfprune fetch models/smollm2-135m-instruct-q4
    hfprune fetch corpora/c4-sample-heldout
    hfprune fetch corpora/wikipedia-recipe-calibration
    python benchmarks/calibration_draws.py
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from scipy.stats import f
from tqdm import tqdm

from hfprune.analysis.statistics import LEVEL, RESAMPLING, resampling_dof
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.entropy import Entropy
from hfprune.evaluation.measured_model import Subject
from hfprune.files import atomic_file
from hfprune.measures.fidelity import Fidelity
from hfprune.models.load import load_model, load_skeleton, load_tokenizer
from hfprune.plans.plan import Plan, make_plan
from hfprune.provenance import save_tensors
from hfprune.scoring.folds import FOLDS, resample
from hfprune.scoring.score import score
from hfprune.scoring.scores import Scores
from hfprune.seeds import derive_seed
from hfprune.stages.target import draw_blocks

MODEL, RATIO, CORPUS = "smollm2-135m-instruct-q4", 0.2, "wikipedia-recipe-calibration"
CRITERIA = {"entropy": Entropy(), "cross_entropy": CrossEntropy()}
# What calibrations are drawn from.
SEQUENCES, LENGTH = 600, 128
SIZES, DRAWS, RESAMPLED, RESAMPLES = (32, 128), 16, 8, 8
MEASURE = Fidelity(corpus="c4-sample-heldout", sequences=16, length=128)
HERE = Path(__file__).parent
COLUMNS = ["sequences", "draw", "method", "kind", "number", "js_distance"]


def sequence_scores(resources: Path, work: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return by method and key the scores [sequences, units] by each sequence alone; their sums are scores."""
    path, model = work / "sequences.safetensors", resources / "models" / MODEL
    if not path.exists():
        drawn = {
            "sequences": SEQUENCES,
            "length": LENGTH,
            "sampling": "pack",
            "seed": 0,
            "place": "calibration",
        }
        blocks, _ = draw_blocks(model, resources / "corpora" / CORPUS, **drawn)
        dense = load_model(model, "bfloat16")
        alone = [score(CRITERIA, dense, block[None]) for block in tqdm(blocks, desc="score", unit="sequence")]
        rows = {
            f"{method}/{key}": torch.stack([found[method].scores[key] for found in alone]).float()
            for method in CRITERIA
            for key in alone[0][method].scores
        }
        save_tensors(path, rows)
    rows = load_file(path)
    return {
        method: {name.partition("/")[2]: x for name, x in rows.items() if name.startswith(f"{method}/")}
        for method in CRITERIA
    }


def calibrations(size: int, draw: int) -> Iterator[tuple[str, int, list[int]]]:
    """Yield kind, number and folds of the calibrations from one draw: its own folds, and those made of them."""
    yield "draw", 0, [*range(FOLDS)]
    if draw < RESAMPLED:
        for number in range(1, RESAMPLES + 1):
            yield "bootstrap", number, resample(range(FOLDS), derive_seed(draw, str(size)), number)
        for fold in range(FOLDS):
            yield "jackknife", fold, [other for other in range(FOLDS) if other != fold]


def plans_of(
    rows: dict[str, torch.Tensor], size: int, draw: int, plan: Callable[[Scores], Plan]
) -> list[Plan]:
    """Return the plans by the calibrations of a draw with replacement: each draw is independent of the others."""
    total = len(next(iter(rows.values())))
    chosen = np.random.default_rng([size, draw]).integers(total, size=size)
    folds = {
        key: torch.stack([x[chosen[fold::FOLDS]].double().sum(0) for fold in range(FOLDS)])
        for key, x in rows.items()
    }
    return [
        plan({key: x[taken].sum(0) for key, x in folds.items()}) for _, _, taken in calibrations(size, draw)
    ]


def measured(subject: Callable[[Sequence[Plan]], Subject], plans: Sequence[Plan]) -> list[float]:
    """Return the JS distance of each plan."""
    found: list[float] = []
    for variant in subject(plans).variants():
        found.append(MEASURE.run(variant).values[0].value if variant else found[-1])
    return found


def run(sizes: Sequence[int], resources: Path, work: Path) -> pd.DataFrame:
    """Measure what is not yet measured; return a row a plan."""
    model = resources / "models" / MODEL
    scores, cut = sequence_scores(resources, work), partial(make_plan, load_skeleton(model), ratio=RATIO)
    dense, tokenizer, tables = load_model(model, "bfloat16"), load_tokenizer(model), []

    def subject(plans: Sequence[Plan]) -> Subject:
        return Subject(None, dense, tokenizer=tokenizer, resources=resources, resampled=plans)

    for size in sizes:
        for draw in range(DRAWS):
            path = work / f"{size}-{draw}.csv"
            if not path.exists():
                rows = []
                for method, of_sequences in scores.items():
                    distances = measured(subject, plans_of(of_sequences, size, draw, lambda x: cut(scores=x)))
                    about = [(kind, number) for kind, number, _ in calibrations(size, draw)]
                    rows += [(size, draw, method, *x, y) for x, y in zip(about, distances, strict=True)]
                with atomic_file(path) as temporary:
                    pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)
            tables.append(pd.read_csv(path))
    return pd.concat(tables)


def spreads(plans: pd.DataFrame) -> pd.DataFrame:
    """Return the SD over draws of each size and outcome, and beside it those by folds; see `NOTE`."""
    wide = plans.pivot_table(
        index=["sequences", "draw", "kind", "number"], columns="method", values="js_distance"
    )
    wide["difference"] = wide["cross_entropy"] - wide["entropy"]
    rows = []
    for size in SIZES:
        for outcome in wide.columns:
            of = {
                kind: wide.loc[size][outcome].xs(kind, level="kind")
                for kind in ("draw", "bootstrap", "jackknife")
            }
            real = of["draw"].std()
            by_draw = {kind: of[kind].groupby("draw") for kind in ("bootstrap", "jackknife")}
            sds = {
                "bootstrap": (by_draw["bootstrap"].var().mean() * RESAMPLING) ** 0.5,
                # The mean square of the deviations, times one less than the folds (Efron and Stein, 1981).
                "jackknife": ((FOLDS - 1) * by_draw["jackknife"].var(ddof=0).mean()) ** 0.5,
            }
            own = of["draw"].droplevel("number").iloc[:RESAMPLED]
            dofs = {
                "bootstrap": resampling_dof(RESAMPLED, RESAMPLES),
                "jackknife": RESAMPLED * (FOLDS - 1),
            }
            for kind, sd in sds.items():
                ends = np.sqrt(f.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], DRAWS - 1, dofs[kind]))
                excess = by_draw[kind].mean() - own
                ratio = real / sd
                rows.append(
                    (size, outcome, kind, real, sd, ratio, *(ratio / ends), excess.mean(), excess.sem())
                )
    columns = [
        "sequences",
        "outcome",
        "folds",
        "SD over draws",
        "SD by folds",
        "ratio of SDs",
        "from",
        "to",
        "excess",
        "±",
    ]
    return pd.DataFrame(rows, columns=columns)


NOTE = f"""# Variation between calibration samples, by folds

Made by `python benchmarks/calibration_draws.py`: JS distance to the dense SmolLM2-135M-Instruct with
{RATIO:.0%} of its parameters removed, on {MEASURE.sequences} crops of {MEASURE.length} tokens of
`{MEASURE.corpus}`; {DRAWS} calibrations of each size, drawn with replacement from {SEQUENCES} sequences of
{LENGTH} tokens of `{CORPUS}`, cut from pages joined end to end. The first {RESAMPLED} are also resampled
{RESAMPLES} times by folds, to which their sequences are dealt one by one, and jackknifed. Draws are
independent given the {SEQUENCES}, so this is the case of independent sequences.

*Difference*: cross-entropy less entropy, on the same calibrations. *Ratio of SDs* is one where folds tell
what another draw would change; *from* and *to* are its 95 % interval by the F distribution. It may be below
one without fault of the folds: a plan is a cut in a ranking, so the outcome is no smooth function of the
scores, and where it is of second order in their noise, folds add noise to a draw that has its own. *Excess*:
the outcome by folds less that by the whole draw, on average, with the standard error over draws. Rows of one
size share draws.
"""


def page(plans: pd.DataFrame) -> str:
    """Return the table of `spreads` with what it is of."""
    digits = ["", "", "", ".4f", ".4f", ".2f", ".2f", ".2f", ".4f", ".4f"]
    return f"{NOTE}\n{spreads(plans).to_markdown(index=False, floatfmt=digits)}\n"


def main() -> None:
    """Run the sizes asked for, and write both files where all are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, choices=SIZES, help="measure the draws of one size only")
    parser.add_argument(
        "--resources", type=Path, default=Path("resources"), help="folder of the fetched assets"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("results/calibration-draws"), help="what is done so far"
    )
    chosen = parser.parse_args()
    # Of these settings alone.
    about = repr((MODEL, RATIO, CORPUS, SEQUENCES, LENGTH, SIZES, RESAMPLED, RESAMPLES, MEASURE))
    work = chosen.work / sha256(about.encode()).hexdigest()[:12]
    work.mkdir(parents=True, exist_ok=True)
    plans = run([chosen.size] if chosen.size else SIZES, chosen.resources, work)
    if not chosen.size:
        plans.to_csv(HERE / "calibration_draws.csv", index=False, float_format="%.6g")
        (HERE / "calibration_draws.md").write_text(page(plans))


if __name__ == "__main__":
    main()
