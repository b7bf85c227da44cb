"""The error of linear recovery by the size of its calibration: how much text the solve needs.

One plan of the paper's criterion is solved on more and more sequences of 256 tokens of Wikipedia. The table
has the share of the lost output that is left (`left`) on the eighth of the calibration that is held out, another
one at each size, the median λ that was best there, and the perplexity on other pages. The first rows are the
dense model and the plan alone. Writes linear_sizes.csv and linear_sizes.md beside this script.

    hfprune fetch models/smollm2-135m-instruct-q4 corpora/wikipedia-recipe corpora/wikipedia-recipe-calibration
    python benchmarks/linear_sizes.py
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from tqdm import tqdm

HERE = Path(__file__).parent
MODEL = "smollm2-135m-instruct-q4"
LENGTH, SCORED = 256, 32
MEASURED = "--corpus wikipedia-recipe --sequences 64 --length 96 --dtype float32"


def main() -> None:
    """Solve and measure at every size, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=MODEL, help="as hfprune takes it")
    parser.add_argument("--ratio", default="0.2", help="fraction of all parameters to remove")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the table")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = rows(given.model, given.ratio, given.sizes, Path(folder))
    columns = ["sequences", "tokens", "left", "ridge", "perplexity"]
    table = pd.DataFrame(found, columns=columns).astype({"tokens": "Int64"})
    table.to_csv(given.out / "linear_sizes.csv", index=False, float_format="%.5g", lineterminator="\n")
    text = table.astype(object).fillna("").to_markdown(index=False, floatfmt=".3g")
    (given.out / "linear_sizes.md").write_text(f"{text}\n", encoding="utf-8")
    print(text)


def rows(model: str, ratio: str, sizes: list[int], folder: Path) -> list[dict[str, float]]:
    """Return a row a size, after those of the dense model and of the plan whose weights are not solved."""
    plan, scores = folder / "plan.safetensors", folder / "scores.safetensors"
    blocks = {size: folder / f"{size}.safetensors" for size in sorted({*sizes, SCORED})}
    drawn = f"--corpus wikipedia-recipe-calibration --length {LENGTH} --sampling pack"
    for size, path in blocks.items():
        hfprune("calibrate", model, f"{drawn} --sequences {size} --out {path}")
    hfprune("score", model, f"--blocks {blocks[SCORED]} --criterion entropy --dtype float32 --out {scores}")
    hfprune("plan", model, f"--scores {scores} --ratio {ratio} --out {plan}")
    found = [
        {"sequences": 0, "perplexity": perplexity(model, folder / "dense")},
        {"sequences": 0, "left": 1.0, "perplexity": perplexity(model, folder / "plain", plan)},
    ]
    for size in tqdm(sizes, unit="size", desc="solve and measure"):
        solved = folder / f"solved{size}"
        hfprune("linear", model, f"--blocks {blocks[size]} --plan {plan} --dtype float32 --out {solved}")
        values = values_of(solved / "recovery.json")
        found.append(
            {
                "sequences": size,
                "tokens": size * LENGTH,
                "left": values["lost_output_left"],
                "ridge": values["ridge"],
                "perplexity": perplexity(model, folder / f"measured{size}", plan, solved),
            }
        )
    return found


def perplexity(model: str, out: Path, plan: Path | None = None, solved: Path | None = None) -> float:
    """Return the perplexity of the dense or a pruned model."""
    parts = {"--plan": plan, "--linear": solved}
    given = " ".join(f"{name} {path}" for name, path in parts.items() if path)
    hfprune("measure perplexity", model, f"{MEASURED} {given} --out {out}")
    return values_of(out / "perplexity.json")["perplexity"]


def hfprune(command: str, model: str, arguments: str) -> None:
    """Run a command of the suite; end with its message if it fails."""
    words = [*command.split(), "--model", model, *arguments.split()]
    ran = subprocess.run([sys.executable, "-m", "hfprune", *words], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(ran.stderr)


def values_of(path: Path) -> dict[str, float]:
    """Return the values of a result by metric."""
    return {value["metric"]: value["value"] for value in json.loads(path.read_text())["values"]}


if __name__ == "__main__":
    main()
