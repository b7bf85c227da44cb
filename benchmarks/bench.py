"""Compare this suite with the official recipe and stock lm-eval, side by side in one run.

Writes `results.md` and `results.csv` (`what, task, reference, ours, ratio_median, ratio_min, ratio_max`;
seconds or bytes; ratio = reference / ours). Absolute times depend on the machine; only ratios carry over.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd
import torch
from official import cross_entropy_loss, entropy_loss, official_scores
from sides import COLUMNS, MEMORY, SIDES, Row, against, held, memory, peak, seconds
from transformers import Qwen2Config, Qwen2ForCausalLM

from hfprune.calibration.sizes import samples_of
from hfprune.criteria import Criterion
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.entropy import Entropy
from hfprune.criteria.sdmprune import SDMPrune
from hfprune.criteria.wanda import Wanda
from hfprune.devices.lease import default_device
from hfprune.models.load import load_model, load_tokenizer
from hfprune.plans.planning import make_plan
from hfprune.recovery.reconstruction import solve_plans
from hfprune.scoring.score import score, score_samples

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

HERE = Path(__file__).parent
BATCH_SIZES = (1, 2, 4, 8, 16)
# What their rows begin with.
PARTS = ("scoring", "sizes", "peak memory", "linear recovery", "evaluation", "examples")
# Tasks with examples before each question, by the name of the fetched task or group, and how many.
EXAMPLES = {"mmlu_astronomy": ("mmlu_stem", 5), "gsm8k_cot": ("gsm8k_cot", 8)}
SDMPRUNE = "sdmprune"  # a side of a comparison of memory


def tokens(model: torch.nn.Module, sequences: int, length: int) -> torch.Tensor:
    """Draw random blocks; the work does not depend on their tokens."""
    return torch.randint(0, model.config.vocab_size, (sequences, length), device=model.device)


def scoring(model: torch.nn.Module, sequences: int, length: int, repeats: int) -> Iterator[Row]:
    """Time scoring by one criterion, and by two at once compared with two official runs."""
    blocks = tokens(model, sequences, length)
    one: dict[str, Criterion] = {"entropy": Entropy()}
    both = one | {"cross_entropy": CrossEntropy()}
    what = f"scoring, {length} tokens"
    yield against(
        what,
        "entropy",
        lambda: official_scores(model, blocks, entropy_loss),
        lambda: score(one, model, blocks),
        repeats,
    )
    yield against(
        what,
        "entropy, cross-entropy",
        lambda: [official_scores(model, blocks, loss) for loss in (entropy_loss, cross_entropy_loss)],
        lambda: score(both, model, blocks),
        repeats,
    )


def nested(model: torch.nn.Module, sequences: int, length: int, repeats: int) -> Row:
    """Time a pass for the largest size alone, and one for all disjoint samples of it and its halves down to 16."""
    blocks = tokens(model, sequences, length)
    criteria: dict[str, Criterion] = {"entropy": Entropy(), "cross_entropy": CrossEntropy()}
    sizes = [sequences >> halvings for halvings in range(sequences.bit_length() - 4)]
    every = [sample for size in sizes for sample in samples_of(size, sequences // size)]

    def scored(samples: list[range]) -> object:
        return score_samples(criteria, model, blocks, ["neurons"], {name: samples for name in criteria})

    task = f"{sequences} sequences beside {len(every)} samples of {sizes[-1]} to {sequences}"
    return against(f"sizes, {length} tokens", task, lambda: scored(every[:1]), lambda: scored(every), repeats)


def linear_recovery(
    model: torch.nn.Module, name: str, sequences: int, length: int, repeats: int
) -> Iterator[Row]:
    """Time a linear recovery of a plan, with the choice of λ, beside scoring on the same tokens."""
    blocks = tokens(model, sequences, length)
    plan = make_plan(model, score({"it": Wanda()}, model, blocks)["it"].scores, 0.2)

    def solve() -> None:
        with TemporaryDirectory() as state:
            solve_plans(model, blocks, {"it": plan}, Path(state))

    for criterion in (Entropy(), Wanda()):
        yield against(
            f"linear recovery, {length} tokens",
            f"{name}, beside {type(criterion).__name__}",
            lambda criterion=criterion: score({"it": criterion}, model, blocks),
            solve,
            repeats,
        )


def wide_layer() -> torch.nn.Module:
    """Return one random layer of the shape of Qwen2.5-1.5B."""
    shape = {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
    }
    model = Qwen2ForCausalLM(Qwen2Config(**shape, num_hidden_layers=1, vocab_size=1024))
    return model.to(default_device()).eval().requires_grad_(False)


def evaluation(
    model: torch.nn.Module, path: Path, tasks: Path, documents: int, repeats: int
) -> Iterator[Row]:
    """Time every fetched task, and all together, in stock lm-eval at its best batch size and in ours."""
    from hfprune.assets.tasks import task_files
    from hfprune.evaluation.lm_tasks import offline_tasks

    ours, stock = lms(model, load_tokenizer(path))
    data = {
        folder.name: task_files(folder)[folder.name]
        for folder in sorted(tasks.iterdir())
        if (folder / "asset.json").exists()
        and folder.name not in EXAMPLES
        and folder.name in task_files(folder)
    }
    rows = []
    with offline_tasks(data) as manager:
        for name in data:
            asked = partial(answers, manager, name)
            rows.append(beside_stock("evaluation", name, ours, stock, asked, documents, repeats))
            yield rows[-1]
    theirs, mine = (sum(float(row[side]) for row in rows) for side in ("reference", "ours"))
    yield dict(zip(COLUMNS, ["evaluation", "all", theirs, mine, *[theirs / mine] * 3], strict=True))


def examples(model: torch.nn.Module, path: Path, tasks: Path, documents: int, repeats: int) -> Iterator[Row]:
    """Time tasks with examples before each question, one with choices and one whose answers are written."""
    from hfprune.assets.tasks import task_files
    from hfprune.evaluation.lm_tasks import offline_tasks

    ours, stock = lms(model, load_tokenizer(path))
    for name, (folder, shots) in EXAMPLES.items():
        with offline_tasks({name: task_files(tasks / folder)[name]}) as manager:
            asked, what = partial(answers, manager, name, shots=shots), f"examples, {shots}"
            yield beside_stock(what, name, ours, stock[::3], asked, documents, repeats)


def beside_stock(
    what: str,
    name: str,
    ours: "HFLM",
    stock: list["HFLM"],
    asked: Callable[[int, "HFLM"], list],
    documents: int,
    repeats: int,
) -> Row:
    """Time ours beside the stock model that is fastest on a few documents; the answers must be the same."""
    best = min(stock, key=lambda lm: seconds(lambda: asked(8, lm)))
    found: dict[HFLM, list] = {}

    def run(lm: "HFLM") -> None:
        found[lm] = asked(documents, lm)

    task = f"{name} (stock: batch {best.batch_size})"
    row = against(what, task, partial(run, best), partial(run, ours), repeats, False)
    if found[ours] != found[best]:
        raise SystemExit(f"{name}: answers differ from stock lm-eval")
    return row


def lms(model: torch.nn.Module, tokenizer: object) -> tuple["HFLM", list["HFLM"]]:
    """Return our model, and the stock model at every candidate batch size."""
    from lm_eval.models.huggingface import HFLM

    from hfprune.evaluation.lm import PrefixTreeLM

    settings = {"tokenizer": tokenizer, "backend": "causal", "add_bos_token": False}
    return PrefixTreeLM(model, **settings), [HFLM(model, batch_size=n, **settings) for n in BATCH_SIZES]


def answers(manager: "TaskManager", task: str, documents: int, lm: "HFLM", shots: int = 0) -> list:
    """Return the greedy flags of all choices of a seeded sample of documents, or the answers that are written."""
    from hfprune.evaluation.lm_tasks import evaluate_task

    items = evaluate_task(lm, manager, task, documents, shots=shots)[1]
    return items["answer" if "answer" in items else "greedy"].map(list).tolist()


def peak_above_weights(model_path: Path, length: int, side: str) -> float:
    """Score one block and return its peak memory in bytes, above the loaded model."""
    model = load_model(model_path, "float32")
    blocks = tokens(model, 1, length)
    before = held()
    if side == "reference":
        return peak(lambda: official_scores(model, blocks, entropy_loss)) - before
    criterion: Criterion = SDMPrune() if side == SDMPRUNE else Entropy()
    return peak(lambda: score({side: criterion}, model, blocks)) - before


def markdown(table: pd.DataFrame) -> str:
    """Return the tables of seconds and of gigabytes, each with its unit above it."""
    in_memory = table["what"] == MEMORY
    sizes = table[in_memory].assign(**{side: table[side] / 1e9 for side in ("reference", "ours")})
    times, sizes = (rows.to_markdown(index=False, floatfmt=".3g") for rows in (table[~in_memory], sizes))
    return f"Time, in seconds:\n\n{times}\n\nMemory, in GB (a billion bytes):\n\n{sizes}\n"


def main() -> None:
    """Run the benchmarks and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("resources/models/smollm2-135m-instruct-q4"))
    parser.add_argument("--tasks", type=Path, default=Path("resources/tasks"))
    parser.add_argument("--documents", type=int, default=40, help="documents of each task")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, help="measure one part again; the rows of the others stay")
    parser.add_argument("--peak", choices=(*SIDES, SDMPRUNE), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_above_weights(arguments.model, arguments.length, arguments.peak))
        return
    model = load_model(arguments.model, "float32")
    sequences, length, repeats = arguments.sequences, arguments.length, arguments.repeats

    def both_lengths() -> Iterator[Row]:
        yield from scoring(model, sequences, length, repeats)
        yield from scoring(model, sequences * 4, length // 4, repeats)

    def peaks() -> Iterator[Row]:
        flags = ("--model", arguments.model, "--length", length)
        task = f"entropy, {length} tokens"
        yield memory(task, __file__, *flags)
        # Table 5's comparison; its times are the study `cost`.
        yield memory(f"{task}, beside SDMPrune", __file__, *flags, sides=(SDMPRUNE, "ours"))

    def recoveries() -> Iterator[Row]:
        yield from linear_recovery(model, "SmolLM2", sequences * 4, length // 4, repeats)
        yield from linear_recovery(wide_layer(), "a layer of 1.5B", 64, 256, repeats)

    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "scoring": both_lengths,
        "sizes": lambda: [nested(model, sequences * 16, length // 8, repeats)],
        "peak memory": peaks,
        "linear recovery": recoveries,
        "evaluation": lambda: evaluation(
            model, arguments.model, arguments.tasks, arguments.documents, repeats
        ),
        "examples": lambda: examples(model, arguments.model, arguments.tasks, arguments.documents, repeats),
    }
    path = HERE / "results.csv"
    tables = [
        pd.DataFrame(part(), columns=COLUMNS)
        if arguments.only in (None, name)
        else pd.read_csv(path).query("what.str.startswith(@name)")
        for name, part in parts.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(path, index=False, float_format="%.4g")
    (HERE / "results.md").write_text(markdown(table))


if __name__ == "__main__":
    main()
