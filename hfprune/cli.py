"""The `hfprune` command: one subcommand a stage, each usable by hand.

Nothing heavy is imported at the top, so that `--help` and the errors of a mistyped call come at once.
"""

import argparse
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hfprune
from hfprune.errors import HfpruneError

# `hfprune.study.Parts`, without importing it (pydantic) before it is needed.
PARTS = ("mlp", "mlp+attention")

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.criterion import Criterion
    from hfprune.provenance import Stopwatch
    from hfprune.results import Cell, Value
    from hfprune.scoring import Sweep
    from hfprune.study import Catalogue
    from hfprune.tally import Curve, Scores


def main() -> None:
    """Run the command line; an `HfpruneError` ends it with one line and exit code 1."""
    arguments = _parser().parse_args()
    # Everything is on disk once fetched; only `fetch` may ask the hub.
    if arguments.command != "fetch":
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        arguments.run(arguments)
    except HfpruneError as error:
        sys.exit(f"hfprune {arguments.command}: error: {error}")
    except OSError as error:  # a full disk, a path without permission, a folder in the place of a file
        sys.exit(f"hfprune {arguments.command}: error: {' '.join(str(error).split())}")
    except RuntimeError as error:
        # `torch.OutOfMemoryError`, without importing torch for it.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        reason = str(error).split(". ")[0]
        hint = "; read fewer tokens at a time (--batch-tokens)" if hasattr(arguments, "batch_tokens") else ""
        sys.exit(f"hfprune {arguments.command}: error: {reason}{hint}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hfprune", description=hfprune.__doc__)
    parser.add_argument("--version", action="version", version=hfprune.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_fetch,
        _add_budget,
        _add_calibrate,
        _add_score,
        _add_plan,
        _add_adopt,
        _add_recover,
        _add_evaluate,
        _add_fidelity,
        _add_perplexity,
        _add_latency,
        _add_distributions,
        _add_ablate,
        _add_export,
        _add_collect,
        _add_tables,
        _add_claims,
        _add_compare,
        _add_figures,
        _add_audit,
        _add_methods,
        _add_schema,
    ):
        add(commands)
    return parser


def _command(commands: Any, run: Any, example: str) -> argparse.ArgumentParser:
    """Add the subcommand that `run` implements; its docstring is the help."""
    parser = commands.add_parser(
        run.__name__.removeprefix("_"),
        help=run.__doc__,
        description=run.__doc__,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


# --- fetch ---------------------------------------------------------------------------------------------


def _add_fetch(commands: Any) -> None:
    parser = _command(commands, _fetch, "hfprune fetch --study config/studies/demo.yaml")
    parser.add_argument("assets", nargs="*", metavar="KIND/NAME", help="e.g. models/smollm2-135m, tasks/piqa")
    parser.add_argument("--study", type=Path, help="fetch everything that this study needs")
    parser.add_argument("--catalogue", type=Path, default=Path("config/assets.yaml"), help="%(default)s")
    parser.add_argument("--resources", type=Path, default=Path("resources"), help="%(default)s")


def _fetch(arguments: argparse.Namespace) -> None:
    """Download, check and convert models, corpora, tasks and instruction pairs into the resources folder."""
    from hfprune import assets
    from hfprune.study import Catalogue, load, nearest

    catalogue = load(Catalogue, arguments.catalogue)
    fetchers: dict[str, Any] = {
        "models": assets.fetch_model,
        "corpora": assets.fetch_corpus,
        "tasks": assets.fetch_task,
        "instructions": assets.fetch_instructions,
    }
    known = {f"{kind}/{name}": entry for kind in fetchers for name, entry in getattr(catalogue, kind).items()}
    missing = {}
    for asset in _wanted_assets(arguments, catalogue):
        if asset not in known:
            raise HfpruneError(f"{arguments.catalogue}: no asset {asset!r}{nearest(asset, [*known])}")
        if assets.is_fetched(arguments.resources / asset, known[asset]):
            print(f"fetch: {arguments.resources / asset} is already there", file=sys.stderr)
        else:
            missing[asset] = assets.pinned(known[asset], arguments.resources / asset)
    assets.announce(missing, arguments.resources)
    for asset, entry in missing.items():
        kind, name = asset.split("/")
        out = arguments.resources / asset
        print(f"fetch: {asset} to {out}", file=sys.stderr)
        fetchers[kind](name, entry, out, arguments.resources / "downloads")


def _wanted_assets(arguments: argparse.Namespace, catalogue: "Catalogue") -> list[str]:
    """Return what to fetch as `kind/name`, each once: what is named, and what the study needs."""
    from hfprune.study import Study, check_references, load, study_assets

    wanted = list(arguments.assets)
    if arguments.study:
        study = load(Study, arguments.study)
        check_references(study, catalogue, str(arguments.study))
        wanted += study_assets(study)
    if not wanted:
        raise HfpruneError("name what to fetch: KIND/NAME, or --study FILE")
    return list(dict.fromkeys(wanted))


# --- budget, calibrate, score, plan, adopt ------------------------------------------------------------


def _add_budget(commands: Any) -> None:
    example = "hfprune budget --model resources/models/smollm2-135m --ratios 0.2 0.3"
    parser = _command(commands, _budget, example)
    _model_flag(parser)
    parser.add_argument("--ratios", type=float, nargs="+", required=True, help="fractions of all parameters")
    parser.add_argument(
        "--parts", choices=PARTS, nargs="+", default=[PARTS[0]], help="what may be pruned (mlp)"
    )
    parser.add_argument("--floor", type=float, help="of a global allocation: must be reachable too")
    parser.add_argument("--out", type=Path, help="also write it here, as JSON")


def _budget(arguments: argparse.Namespace) -> None:
    """Say how many neurons, or groups, a layer keeps at each ratio; fail if one cannot be reached."""
    from hfprune.files import write_json
    from hfprune.models import load_skeleton
    from hfprune.plans import check_floor, count_parameters, floor_width, kept_units, layer_units

    model = load_skeleton(arguments.model)
    total = count_parameters(model)
    kept: dict[str, Any] = {}
    for parts in arguments.parts:
        sizes = [size for size, _ in layer_units(model, parts)]
        kept[parts] = {f"{ratio:g}": kept_units(model, ratio, parts) for ratio in arguments.ratios}
        for ratio, numbers in kept[parts].items():
            shares = zip(numbers, sizes, ("neurons", "key-value groups"), strict=False)
            text = " and ".join(f"{number:,} of {size:,} {unit}" for number, size, unit in shares)
            print(f"ratio {ratio} of {total:,} parameters: keep {text} a layer")
            if arguments.floor:
                check_floor(numbers[0], floor_width(sizes[0], arguments.floor), arguments.floor)
    if arguments.out:
        out: dict[str, Any] = {"parameters": total, "kept": kept}
        if "mlp" in kept:
            # For tools that ask for a share of neurons instead of parameters.
            width = layer_units(model, "mlp")[0][0]
            out["neurons_removed"] = {ratio: 1 - neurons / width for ratio, (neurons,) in kept["mlp"].items()}
        write_json(arguments.out, out)


def _add_calibrate(commands: Any) -> None:
    example = (
        "hfprune calibrate --model resources/models/smollm2-135m --corpus resources/corpora/c4-sample "
        "--sequences 16 --length 256 --sampling pack --out blocks.safetensors"
    )
    parser = _command(commands, _calibrate, example)
    _model_flag(parser)
    _text_flags(parser)
    _seed_flag(parser)
    parser.add_argument("--out", type=_safetensors, required=True)


def _calibrate(arguments: argparse.Namespace) -> None:
    """Draw seeded blocks of tokens from a corpus."""
    from hfprune.calibration import save_blocks
    from hfprune.provenance import Stopwatch, provenance, stable

    watch = Stopwatch()
    blocks, _ = _blocks(arguments, arguments.seed, "calibration")
    inputs = {"model": arguments.model, "corpus": arguments.corpus}
    settings = _settings(arguments, "sequences", "length", "sampling", "seed")
    settings |= {"corpus": arguments.corpus.name}
    save_blocks(arguments.out, blocks, stable(provenance(watch, inputs, **settings)))


def _add_score(commands: Any) -> None:
    example = (
        "hfprune score --model resources/models/smollm2-135m --blocks blocks.safetensors "
        "--criterion entropy --out scores.safetensors"
    )
    parser = _command(commands, _score, example)
    _model_flag(parser)
    parser.add_argument("--blocks", type=Path, help="calibration blocks; not needed by weight criteria")
    parser.add_argument(
        "--criterion",
        nargs="+",
        required=True,
        help="of those that `hfprune methods` lists; gradient criteria named together share one pass",
    )
    parser.add_argument(
        "--options", type=_json, default={}, help="the criterion's as JSON; of several criteria by name"
    )
    _parts_flag(parser)
    parser.add_argument("--sequences", type=_positive, help="the first of the blocks (all)")
    parser.add_argument(
        "--until-agreement",
        type=float,
        help="stop once halves of the calibration agree on this share of kept neurons",
    )
    _batch_flag(parser)
    _seed_flag(parser)
    _dtype_flag(parser)
    _cell_flag(parser)
    parser.add_argument(
        "--out",
        type=_safetensors,
        required=True,
        help="scores; the cost goes to .json beside it; of several criteria with {criterion} in it",
    )


def _score(arguments: argparse.Namespace) -> None:
    """Give every MLP neuron, and key-value group, a score by one or more criteria."""
    criteria = _criteria(arguments)

    import torch

    from hfprune.calibration import load_blocks
    from hfprune.models import load_model
    from hfprune.provenance import fingerprint
    from hfprune.scoring import Sweep

    _fix_batch_tokens(arguments)
    blocks = load_blocks(arguments.blocks) if arguments.blocks else torch.empty(0, 1, dtype=torch.int32)
    blocks = blocks[: arguments.sequences]
    described = {
        name: _score_provenance(arguments, name, item, len(blocks)) for name, item in criteria.items()
    }
    # A killed run leaves its sums here, and the same call goes on from them.
    state = Path(str(arguments.out).replace("{criterion}", "+".join(criteria))).with_suffix(".state")
    model = load_model(arguments.model, arguments.dtype)
    identity = "".join(fingerprint(inputs, settings) for inputs, settings in described.values())
    sweep = Sweep(
        model,
        blocks,
        arguments.seed,
        arguments.batch_tokens,
        parts=arguments.parts,
        until_agreement=arguments.until_agreement,
        state=state,
        identity=identity,
    )
    tokens, watch, found = _score_as_fits(criteria, sweep)
    for name, (scores, curves) in found.items():
        inputs, settings = described[name]
        _write_scores(arguments, name, scores, curves, watch, inputs, settings | {"batch_tokens": tokens})
    shutil.rmtree(state, ignore_errors=True)


def _score_as_fits(
    criteria: "dict[str, Criterion]", sweep: "Sweep"
) -> "tuple[int, Stopwatch, dict[str, tuple[Scores, dict[str, Curve]]]]":
    """Score with as many sequences at a time as memory holds, and return their tokens, cost and scores."""
    from accelerate.utils import find_executable_batch_size

    from hfprune.criterion import score_all
    from hfprune.provenance import Stopwatch

    length = sweep.blocks.shape[1]
    most = max(1, sweep.batch_tokens // length)

    @find_executable_batch_size(starting_batch_size=most)
    def score(sequences: int) -> tuple[int, Stopwatch, dict]:
        watch = Stopwatch()
        return (
            sequences,
            watch,
            score_all(criteria, replace(sweep, batch_tokens=sequences * length, curves={})),
        )

    try:
        sequences, watch, found = score()
    except RuntimeError as error:
        if "No executable batch size found" not in str(error):
            raise
        hint = "take shorter ones (`hfprune calibrate --length`)"
        raise HfpruneError(f"not even one sequence of {length} tokens fits into memory; {hint}") from error
    if sequences < most:
        print(f"memory ran out: now {sequences * length} tokens at a time", file=sys.stderr)
    return sequences * length, watch, found


def _criteria(arguments: argparse.Namespace) -> "dict[str, Criterion]":
    """Build the criteria that `hfprune score` was asked for, by name."""
    from hfprune.criterion import make_criterion

    names = list(dict.fromkeys(arguments.criterion))
    several = len(names) > 1
    if several and "{criterion}" not in str(arguments.out):
        raise HfpruneError("--out must have {criterion} in it where --criterion names several")
    if several and (unknown := set(arguments.options) - set(names)):
        raise HfpruneError(f"--options of several criteria are by name; {min(unknown)!r} is none of {names}")
    options = arguments.options if several else {names[0]: arguments.options}
    criteria = {
        name: make_criterion(name, options.get(name, {}), "--criterion/--options", arguments.parts)
        for name in names
    }
    for name, criterion in criteria.items():
        if criterion.needs != "weights" and not arguments.blocks:
            raise HfpruneError(f"criterion {name!r} needs --blocks (see `hfprune calibrate`)")
    return criteria


def _score_provenance(
    arguments: argparse.Namespace, name: str, criterion: "Criterion", blocks: int
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the inputs and settings that scores by one criterion come from."""
    from hfprune.calibration import blocks_provenance
    from hfprune.criterion import source_file

    # Its file's hash, because git does not know a file that a user has just added.
    inputs = {"model": arguments.model, "criterion": source_file(criterion)}
    corpus = ""
    if arguments.blocks:
        inputs |= {"blocks": arguments.blocks}
        corpus = blocks_provenance(arguments.blocks).get("settings", {}).get("corpus", "")
    settings = _settings(arguments, "batch_tokens", "seed", "dtype", "parts", "until_agreement")
    settings |= {"criterion": name, "corpus": corpus}
    settings |= {"options": criterion.model_dump(), "version": criterion.version, "blocks": blocks}
    # Time and memory are those of all.
    others = [other for other in arguments.criterion if other != name]
    return inputs, settings | ({"together_with": others} if others else {})


def _write_scores(
    arguments: argparse.Namespace,
    name: str,
    scores: "Scores",
    curves: "dict[str, Curve]",
    watch: "Stopwatch",
    inputs: dict[str, Path],
    settings: dict[str, Any],
) -> None:
    """Write the scores by one criterion, and what they cost beside them."""
    from hfprune.provenance import provenance, stable
    from hfprune.results import Value, write_result
    from hfprune.scoring import save_scores

    out = Path(str(arguments.out).replace("{criterion}", name))
    made = provenance(watch, inputs, **settings) | {"curves": curves}
    save_scores(out, scores, stable(made) | {"curves": curves}, arguments.parts)
    values = [Value(metric, number) for metric, number in made["cost"].items()]
    for curve in list(curves.values())[-1:]:
        (last,) = curve[-1]["criteria"]
        values += [Value("sequences", curve[-1]["sequences"]), Value("agreement", last["agreement"])]
    write_result(out.with_suffix(".json"), _cell(arguments, name), "cost", "", values, made)


def _add_plan(commands: Any) -> None:
    example = (
        "hfprune plan --model resources/models/smollm2-135m --scores scores.safetensors --ratio 0.2 "
        "--out plan.safetensors"
    )
    parser = _command(commands, _plan, example)
    _model_flag(parser)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--ratio", type=float, required=True, help="fraction of all parameters to remove")
    _parts_flag(parser)
    parser.add_argument(
        "--allocation",
        choices=["uniform", "global"],
        default="uniform",
        help="as many neurons in every layer, or the highest scores of all layers (%(default)s)",
    )
    parser.add_argument("--standardize", action="store_true", help="global: rank z-scores within a layer")
    parser.add_argument("--floor", type=float, help="global: fraction of a layer kept in any case (0.1)")
    _cell_flag(parser)
    parser.add_argument(
        "--out", type=_safetensors, required=True, help="plan; its size goes to .json beside it"
    )


def _plan(arguments: argparse.Namespace) -> None:
    """Cut the kept neurons, and key-value groups, for a ratio of all parameters from scores."""
    from hfprune.models import load_skeleton
    from hfprune.plans import apply_plan, count_parameters, make_plan, save_plan
    from hfprune.provenance import Stopwatch, provenance, stable
    from hfprune.results import write_result
    from hfprune.scoring import load_scores
    from hfprune.study import Allocation, validate

    chosen = {"rule": arguments.allocation, "standardize": arguments.standardize, "floor": arguments.floor}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    allocation = validate(Allocation, chosen, "--allocation")
    watch = Stopwatch()
    model = load_skeleton(arguments.model)
    total = count_parameters(model)
    scores = load_scores(arguments.scores, arguments.parts)
    plan = make_plan(model, scores, arguments.ratio, arguments.parts, allocation)
    apply_plan(model, plan)
    left = count_parameters(model)
    inputs = {"model": arguments.model, "scores": arguments.scores}
    settings = _settings(arguments, "ratio", "parts") | {"allocation": allocation.model_dump()}
    made = provenance(watch, inputs, **settings)
    save_plan(arguments.out, plan, stable(made), arguments.parts)
    values = _size(left, total)
    write_result(arguments.out.with_suffix(".json"), _cell(arguments), "size", "", values, made)


def _add_adopt(commands: Any) -> None:
    example = (
        "hfprune adopt --model resources/models/smollm2-135m --checkpoint pruned --ratio 0.2 --out size.json"
    )
    parser = _command(commands, _adopt, example)
    _model_flag(parser)
    _plan_flag(parser, required=True)
    parser.add_argument(
        "--ratio", type=float, required=True, help="fraction of all parameters it was to remove"
    )
    _cell_flag(parser)
    parser.add_argument("--out", type=_result, required=True, help="size of the pruned model")


def _adopt(arguments: argparse.Namespace) -> None:
    """Check a plan or checkpoint that another tool made: does it fit the model and the budget?"""
    from hfprune.baselines.contract import adopt
    from hfprune.provenance import Stopwatch, provenance
    from hfprune.results import write_result

    watch = Stopwatch()
    size = adopt(arguments.model, arguments.plan or arguments.checkpoint, arguments.ratio)
    inputs = {"model": arguments.model} | _plan_input(arguments)
    made = provenance(watch, inputs, **_settings(arguments, "ratio"))
    write_result(arguments.out, _cell(arguments), "size", "", _size(*size), made)


# --- recover ---------------------------------------------------------------------------------------------


def _add_recover(commands: Any) -> None:
    example = (
        "hfprune recover --model resources/models/smollm2-135m --plan plan.safetensors "
        """--instructions resources/instructions/coqa --options '{"batch": 4, "length": 256}' --out adapter"""
    )
    parser = _command(commands, _recover, example)
    _model_flag(parser)
    _plan_flag(parser)
    parser.add_argument("--instructions", type=Path, required=True, help="fetched instructions folder")
    parser.add_argument(
        "--options",
        type=_json,
        default={},
        help="as in a study's recovery section, as JSON (the official ones)",
    )
    _batch_flag(parser)
    _seed_flag(parser)
    _dtype_flag(parser)
    _cell_flag(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the adapter and its losses")


def _recover(arguments: argparse.Namespace) -> None:
    """Train a LoRA adapter for a pruned model on instruction pairs; a killed run goes on where it was."""
    from hfprune.study import Lora, validate

    lora = validate(Lora, arguments.options, "--options")
    from hfprune import recovery
    from hfprune.assets import read_instructions
    from hfprune.files import atomic_directory
    from hfprune.layout import RECOVERED
    from hfprune.models import default_training_tokens, load_tokenizer
    from hfprune.provenance import Stopwatch, fingerprint, provenance
    from hfprune.results import Value, write_result

    if not recovery.is_replaceable(arguments.out):
        raise HfpruneError(f"{arguments.out}: exists and is no earlier adapter; choose another folder")
    arguments.batch_tokens = arguments.batch_tokens or default_training_tokens()
    watch = Stopwatch()
    inputs = {
        "model": arguments.model,
        "instructions": arguments.instructions,
    } | _plan_input(arguments)
    settings = _settings(arguments, "batch_tokens", "seed", "dtype") | lora.model_dump()
    pairs = read_instructions(arguments.instructions)
    seed = recovery.recovery_seed(arguments.seed, arguments.instructions.name)
    packed = recovery.pack(pairs, load_tokenizer(arguments.model), lora.length, lora.examples, seed)
    # Checkpoints of other inputs or settings lie in other folders, so they are never gone on with.
    state = arguments.out.with_name(arguments.out.name + ".state")
    adapted, losses = recovery.train_adapter(
        _load(arguments),
        packed,
        lora,
        seed=seed,
        batch_tokens=arguments.batch_tokens,
        state=state / fingerprint(inputs, settings)[:16],
    )
    made = provenance(watch, inputs, **settings) | {"losses": losses}
    few = max(1, len(losses) // 10)
    values = [
        Value("first_loss", sum(losses[:few]) / few),
        Value("last_loss", sum(losses[-few:]) / few),
        Value("steps", len(losses)),
        Value("sequences", len(packed.tokens)),
        *(Value(metric, number) for metric, number in made["cost"].items()),
    ]
    with atomic_directory(arguments.out) as folder:
        recovery.save_adapter(adapted, folder)
        task = arguments.instructions.name
        write_result(folder / RECOVERED, _cell(arguments), "recovery", task, values, made)
    shutil.rmtree(state, ignore_errors=True)


# --- evaluate, fidelity, perplexity, latency, distributions, ablate, export ----------------------------


def _add_evaluate(commands: Any) -> None:
    example = (
        "hfprune evaluate --model resources/models/smollm2-135m --plan plan.safetensors "
        "--tasks resources/tasks/piqa resources/tasks/arc_easy --limit 100 --out results/by-hand"
    )
    parser = _command(commands, _evaluate, example)
    _model_flag(parser)
    _plan_flag(parser)
    _adapter_flag(parser)
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="fetched task folders")
    parser.add_argument("--limit", type=_positive, help="first documents of each task (all)")
    _batch_flag(parser)
    parser.add_argument("--add-bos", action=argparse.BooleanOptionalAction, default=True, help="%(default)s")
    _dtype_flag(parser)
    _cell_flag(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder; a finished task in it is kept")


def _evaluate(arguments: argparse.Namespace) -> None:
    """Run zero-shot benchmarks through lm-eval; tasks that are already there are kept."""
    from hfprune.assets import task_file
    from hfprune.provenance import is_current

    _fix_batch_tokens(arguments)
    data = {folder.name: (folder, *task_file(folder)) for folder in arguments.tasks}
    settings = _settings(arguments, "limit", "batch_tokens", "add_bos", "dtype")
    # Snakemake removes the outputs of a job that fails, so what is finished waits here for the rest.
    state = arguments.out.with_name(arguments.out.name + ".state")

    def finished(task: str, place: Path) -> bool:
        inputs = {"model": arguments.model, "task": data[task][0]} | _change_inputs(arguments)
        path = place / f"{task}.json"
        return path.with_suffix(".parquet").exists() and is_current(path, inputs, settings)

    done = [task for task in data if finished(task, arguments.out) or finished(task, state)]
    for task in done:
        print(f"evaluate: {task} is already there", file=sys.stderr)
    missing = {task: found for task, found in data.items() if task not in done}
    if missing:
        _evaluate_missing(arguments, missing, settings, state)
    arguments.out.mkdir(parents=True, exist_ok=True)
    # Only what is current: a killed run with other settings may have left its own.
    for task in [task for task in data if finished(task, state)]:
        for suffix in ("parquet", "json"):  # the JSON says that a result is there, so it moves last
            (state / f"{task}.{suffix}").replace(arguments.out / f"{task}.{suffix}")
    shutil.rmtree(state, ignore_errors=True)


def _evaluate_missing(
    arguments: argparse.Namespace,
    data: dict[str, tuple[Path, str, Path]],
    settings: dict[str, Any],
    out: Path,
) -> None:
    """Evaluate tasks, given as (folder, split, documents), and write each to `out` as it is finished."""
    from hfprune.evaluation.lm import PrefixTreeLM
    from hfprune.evaluation.zeroshot import evaluate_task, offline_tasks
    from hfprune.models import load_tokenizer
    from hfprune.provenance import Stopwatch, provenance
    from hfprune.results import write_result

    model = _load(arguments)
    lm = PrefixTreeLM(
        model,
        tokenizer=load_tokenizer(arguments.model),
        batch_tokens=arguments.batch_tokens,
        add_bos_token=arguments.add_bos,
    )
    with offline_tasks({task: (split, documents) for task, (_, split, documents) in data.items()}) as manager:
        for task, (folder, _, _) in data.items():
            watch = Stopwatch()
            values, items = evaluate_task(lm, manager, task, arguments.limit)
            inputs = {"model": arguments.model, "task": folder} | _change_inputs(arguments)
            made = provenance(watch, inputs, **settings)
            write_result(out / f"{task}.json", _cell(arguments), "zeroshot", task, values, made, items)


def _add_fidelity(commands: Any) -> None:
    example = (
        "hfprune fidelity --model resources/models/smollm2-135m --plan plan.safetensors "
        "--corpus resources/corpora/c4-sample-heldout --sequences 16 --length 256 --out fidelity.json"
    )
    parser = _command(commands, _fidelity, example)
    _measure_flags(parser)
    _text_flags(parser)
    _batch_flag(parser)
    parser.add_argument(
        "--top-k", type=_positive, default=15, help="tokens in the Jaccard index (%(default)s)"
    )


def _fidelity(arguments: argparse.Namespace) -> None:
    """Measure the distance of a pruned or recovered model's output distribution to the dense model's."""
    _need_change(arguments)
    from hfprune.evaluation.fidelity import fidelity
    from hfprune.models import load_model

    def measure(blocks: "Tensor", documents: list[int]) -> Any:
        pruned = _load(arguments)  # first, since a plan that does not fit should fail soon
        dense = load_model(arguments.model, arguments.dtype)
        return fidelity(dense, pruned, blocks, arguments.top_k, arguments.batch_tokens, documents)

    _measure_text(arguments, "fidelity", measure, "top_k")


def _add_perplexity(commands: Any) -> None:
    example = (
        "hfprune perplexity --model resources/models/smollm2-135m "
        "--corpus resources/corpora/wikipedia-sample --sequences 24 --length 256 --out perplexity.json"
    )
    parser = _command(commands, _perplexity, example)
    _measure_flags(parser)
    _text_flags(parser)
    _batch_flag(parser)


def _perplexity(arguments: argparse.Namespace) -> None:
    """Measure perplexity on blocks of a corpus."""
    from hfprune.evaluation.perplexity import perplexity

    def measure(blocks: "Tensor", documents: list[int]) -> Any:
        return perplexity(_load(arguments), blocks, arguments.batch_tokens, documents)

    _measure_text(arguments, "perplexity", measure)


def _add_distributions(commands: Any) -> None:
    example = (
        "hfprune distributions --model resources/models/smollm2-135m --blocks blocks.safetensors "
        "--out distributions.parquet"
    )
    parser = _command(commands, _distributions, example)
    _model_flag(parser)
    parser.add_argument(
        "--blocks", type=Path, required=True, help="calibration blocks; the first few are read"
    )
    _dtype_flag(parser)
    parser.add_argument("--out", type=_parquet, required=True)


def _distributions(arguments: argparse.Namespace) -> None:
    """Show what the criteria see in some next-token distributions of the dense model."""
    from hfprune.calibration import load_blocks
    from hfprune.evaluation.distributions import distributions
    from hfprune.files import atomic_file
    from hfprune.models import load_model, load_tokenizer
    from hfprune.provenance import Stopwatch, provenance, stable

    watch = Stopwatch()
    blocks, tokenizer = load_blocks(arguments.blocks), load_tokenizer(arguments.model)
    table = distributions(load_model(arguments.model, arguments.dtype), tokenizer, blocks)
    inputs = {"model": arguments.model, "blocks": arguments.blocks}
    table.attrs["provenance"] = stable(provenance(watch, inputs, **_settings(arguments, "dtype")))
    with atomic_file(arguments.out) as temporary:
        table.to_parquet(temporary, index=False)


def _measure_text(arguments: argparse.Namespace, name: str, measure: Any, *extra: str) -> None:
    """Draw blocks from the corpus, measure on them, write the result."""
    from hfprune.provenance import Stopwatch, provenance
    from hfprune.results import write_result

    _fix_batch_tokens(arguments)
    watch = Stopwatch()
    # Seed 0 whatever the study's: every cell is measured on the same blocks.
    values, items = measure(*_blocks(arguments, 0, "measurement"))
    inputs = {"model": arguments.model, "corpus": arguments.corpus} | _change_inputs(arguments)
    settings = _settings(arguments, "sequences", "length", "sampling", "batch_tokens", "dtype", *extra)
    made = provenance(watch, inputs, **settings)
    write_result(arguments.out, _cell(arguments), name, arguments.corpus.name, values, made, items)


def _add_latency(commands: Any) -> None:
    example = (
        "hfprune latency --model resources/models/smollm2-135m --plan plan.safetensors "
        "--prompt-tokens 128 --batch 4 --new-tokens 16 --repeats 5 --out latency.json"
    )
    parser = _command(commands, _latency, example)
    _measure_flags(parser)
    parser.add_argument("--prompt-tokens", type=_positive, default=256, help="%(default)s")
    parser.add_argument("--batch", type=_positive, default=8, help="prompts decoded at a time (%(default)s)")
    parser.add_argument("--new-tokens", type=_positive, default=256, help="decoded per prompt (%(default)s)")
    parser.add_argument("--repeats", type=_positive, default=10, help="%(default)s")


def _latency(arguments: argparse.Namespace) -> None:
    """Time prefill and decoding, in turns with the dense model, and count a prefill's operations."""
    from hfprune.evaluation.latency import latency
    from hfprune.models import load_model
    from hfprune.provenance import Stopwatch, provenance
    from hfprune.results import write_result

    watch = Stopwatch()
    workload = _settings(arguments, "prompt_tokens", "batch", "new_tokens", "repeats")
    model = _load(arguments)
    dense = load_model(arguments.model, arguments.dtype) if _plan_input(arguments) else None
    values, items = latency(model, dense, **workload)
    made = provenance(
        watch, {"model": arguments.model} | _change_inputs(arguments), **workload, dtype=arguments.dtype
    )
    write_result(arguments.out, _cell(arguments), "latency", "", values, made, items)


def _add_ablate(commands: Any) -> None:
    example = (
        "hfprune ablate --model resources/models/smollm2-135m --corpus resources/corpora/c4-sample-heldout "
        "--sequences 4 --length 256 --neurons-per-layer 32 --out ablation.json"
    )
    parser = _command(commands, _ablate, example)
    _model_flag(parser)
    _text_flags(parser)
    parser.add_argument("--neurons-per-layer", type=_positive, required=True, help="drawn at random")
    _batch_flag(parser)
    _cell_flag(parser)
    parser.add_argument(
        "--out", type=_result, required=True, help="layer, neuron and damage go to .parquet beside it"
    )


def _ablate(arguments: argparse.Namespace) -> None:
    """Measure what zeroing one neuron at a time does to the output distribution: the truth behind scores."""
    from hfprune.ablation import ablate, sample_neurons
    from hfprune.models import load_model
    from hfprune.provenance import Stopwatch, fingerprint, provenance
    from hfprune.results import Value, write_result

    _fix_batch_tokens(arguments)
    # Seed 0 whatever the study's, here and below, as for every measurement.
    blocks, _ = _blocks(arguments, 0, "measurement")
    inputs = {"model": arguments.model, "corpus": arguments.corpus}
    settings = _settings(arguments, "sequences", "length", "sampling", "neurons_per_layer", "batch_tokens")
    # In float32 whatever the model was saved in, since bfloat16 does not resolve one neuron.
    settings |= {"dtype": "float32"}
    model = load_model(arguments.model, settings["dtype"])
    watch = Stopwatch()
    neurons = sample_neurons(model, arguments.neurons_per_layer, seed=0)
    # A killed run leaves its sums here, and the same call goes on from them.
    state = arguments.out.with_suffix(".state.safetensors")
    items = ablate(model, blocks, neurons, arguments.batch_tokens, state, fingerprint(inputs, settings))
    values = [Value("damage", float(items["damage"].mean()), n=len(items))]
    made = provenance(watch, inputs, **settings)
    write_result(arguments.out, _cell(arguments), "ablation", arguments.corpus.name, values, made, items)
    state.unlink(missing_ok=True)


def _add_export(commands: Any) -> None:
    example = "hfprune export --model resources/models/smollm2-135m --plan plan.safetensors --out pruned"
    parser = _command(commands, _export, example)
    _model_flag(parser)
    _plan_flag(parser)
    _adapter_flag(parser)
    _dtype_flag(parser)
    parser.add_argument("--out", type=Path, required=True)


def _export(arguments: argparse.Namespace) -> None:
    """Write a pruned or recovered model as a checkpoint that plain `from_pretrained` loads."""
    _need_change(arguments)
    from hfprune.plans import count_parameters, export
    from hfprune.provenance import Stopwatch, provenance, stable

    watch = Stopwatch()
    model = _load(arguments)
    inputs = {"model": arguments.model} | _change_inputs(arguments)
    made = stable(provenance(watch, inputs, **_settings(arguments, "dtype")))
    written = export(model, arguments.model, arguments.out, made)
    padding = written - count_parameters(model)
    text = f", {padding:,} of them zeros that pad narrower layers to the widest" if padding else ""
    print(f"export: {arguments.out} has {written:,} parameters{text}")


# --- collect, tables, claims, compare, figures, audit, methods, schema ----------------------------------


def _add_collect(commands: Any) -> None:
    parser = _command(
        commands, _collect, "hfprune collect --study config/studies/demo.yaml --results results/demo"
    )
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="the study's results folder")
    parser.add_argument(
        "--partial", action="store_true", help="take what is there; the default fails on gaps"
    )
    parser.add_argument("--out", type=Path, help="folder (the results folder)")


def _collect(arguments: argparse.Namespace) -> None:
    """Gather a study's results into tidy tables."""
    from hfprune.analysis.collect import collect
    from hfprune.layout import (
        baseline_plan_files,
        distribution_files,
        plan_files,
        result_files,
        score_files,
        study_name,
    )
    from hfprune.study import Study, load

    study, name = load(Study, arguments.study), study_name(arguments.study)

    def present(files: list[str]) -> list[Path]:
        paths = [arguments.results / file for file in files]
        missing = [path for path in paths if not path.exists()]
        if missing and not arguments.partial:
            raise HfpruneError(
                f"{len(missing)} results are missing, the first is {missing[0]}; or use --partial"
            )
        return [path for path in paths if path.exists()]

    results, scores, plans = (
        present(files(name, study)) for files in (result_files, score_files, plan_files)
    )
    external = [arguments.results / file for file in baseline_plan_files(name, study)]
    plans += [path for path in external if path.exists()]
    collect(results, scores, plans, arguments.out or arguments.results, present(distribution_files(study)))


def _add_tables(commands: Any) -> None:
    parser = _command(commands, _tables, "hfprune tables --results results/demo")
    parser.add_argument("--results", type=Path, required=True, help="folder with results.parquet")
    _paper_flag(parser)
    parser.add_argument("--out", type=Path, help="folder (tables, in the results folder)")


def _tables(arguments: argparse.Namespace) -> None:
    """Write the paper's tables, ours beside the published, as CSV, Markdown and LaTeX."""
    from hfprune.analysis.tables import write_tables

    out = arguments.out or arguments.results / "tables"
    write_tables(arguments.results / "results.parquet", arguments.paper, out)


def _add_claims(commands: Any) -> None:
    example = "hfprune claims --study config/studies/demo.yaml --results results/demo"
    parser = _command(commands, _claims, example)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="the study's results folder")
    parser.add_argument(
        "--claims",
        type=Path,
        default=Path("paper/claims.yaml"),
        help="beside the published tables; %(default)s",
    )
    parser.add_argument("--out", type=Path, help="folder that `collect` wrote to (the results folder)")


def _claims(arguments: argparse.Namespace) -> None:
    """Give a verdict on each claim of the paper, as CSV, Markdown and LaTeX."""
    from hfprune.analysis.claims import Paper
    from hfprune.analysis.verdicts import VERDICTS, write_claims
    from hfprune.layout import study_name
    from hfprune.study import Study, load

    study, paper = load(Study, arguments.study), Paper.read(arguments.claims)
    name, out = study_name(arguments.study), arguments.out or arguments.results
    found = write_claims(paper, study, name, arguments.results, out)["verdict"].value_counts()
    counts = ", ".join(f"{found.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    print(f"claims: {counts}; see {out / 'claims.md'}", file=sys.stderr)


def _add_compare(commands: Any) -> None:
    example = "hfprune compare --study config/studies/demo.yaml --results results/demo"
    parser = _command(commands, _compare, example)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="the study's results folder")
    parser.add_argument("--out", type=Path, help="folder that `collect` wrote to (the results folder)")


def _compare(arguments: argparse.Namespace) -> None:
    """Compare every method with entropy, neuron by neuron and item by item."""
    from hfprune.analysis.comparison import write_comparison
    from hfprune.layout import study_name
    from hfprune.study import Study, load

    study, name = load(Study, arguments.study), study_name(arguments.study)
    write_comparison(study, name, arguments.results, arguments.out or arguments.results)


def _add_figures(commands: Any) -> None:
    parser = _command(commands, _figures, "hfprune figures --results results/demo --out figures/demo")
    parser.add_argument("--results", type=Path, required=True, help="folder with the tidy tables")
    _paper_flag(parser)
    parser.add_argument("--out", type=Path, required=True)


def _figures(arguments: argparse.Namespace) -> None:
    """Draw the figures as PDF, SVG and PNG from the tidy tables."""
    from hfprune.analysis.figures import write_figures

    write_figures(arguments.results, arguments.paper, arguments.out)


def _add_audit(commands: Any) -> None:
    _paper_flag(_command(commands, _audit, "hfprune audit"))


def _audit(arguments: argparse.Namespace) -> None:
    """Find defects in the paper's published tables from their numbers alone."""
    from hfprune.analysis.audit import audit, report

    print(report(audit(arguments.paper)))


def _add_methods(commands: Any) -> None:
    parser = _command(commands, _methods, "hfprune methods")
    parser.add_argument(
        "--baselines", type=Path, default=Path("workflow/rules/baselines"), help="their rules (%(default)s)"
    )


def _methods(arguments: argparse.Namespace) -> None:
    """List every criterion and external baseline that a study may name; broken ones with their error."""
    from hfprune.methods import describe_methods

    print(describe_methods(arguments.baselines))


def _add_schema(commands: Any) -> None:
    parser = _command(commands, _schema, "hfprune schema --out workflow/schemas")
    parser.add_argument("--out", type=Path, default=Path("workflow/schemas"), help="%(default)s")


def _schema(arguments: argparse.Namespace) -> None:
    """Write the JSON schemas of config, study and asset catalogue."""
    from hfprune.files import write_json
    from hfprune.study import Catalogue, Config, Study

    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    for kind in (Catalogue, Config, Study):
        path = arguments.out / f"{kind.__name__.lower()}.schema.json"
        write_json(path, draft | kind.model_json_schema())


# --- flags and steps that several commands share -------------------------------------------------------


def _parts_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parts", choices=PARTS, default=PARTS[0], help="MLP neurons, or key-value groups too (%(default)s)"
    )


def _model_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the dense model")


def _plan_flag(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add what tells a pruned model from the dense one."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--plan", type=Path, help="plan to apply (none: the dense model)")
    group.add_argument("--checkpoint", type=Path, help="folder of a model that another tool pruned")


def _adapter_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--adapter", type=Path, help="folder of `hfprune recover`, added to the weights")


def _measure_flags(parser: argparse.ArgumentParser) -> None:
    """Add what every measurement of one cell takes: which model, how to load it, where the result goes."""
    _model_flag(parser)
    _plan_flag(parser)
    _adapter_flag(parser)
    _dtype_flag(parser)
    _cell_flag(parser)
    parser.add_argument("--out", type=_result, required=True)


def _paper_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--paper", type=Path, default=Path("paper"), help="published tables (%(default)s)")


def _text_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, required=True, help="fetched corpus folder")
    parser.add_argument("--sequences", type=_positive, required=True, help="number of blocks")
    parser.add_argument("--length", type=_positive, required=True, help="tokens per block")
    parser.add_argument(
        "--sampling",
        choices=["crop", "pack"],
        default="crop",
        help="a crop of each long enough document, or documents end to end (%(default)s)",
    )


def _batch_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-tokens", type=_positive, help="tokens of a forward pass (by device)")


def _seed_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")


def _dtype_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="to compute in (as the model was saved)"
    )


def _cell_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cell", type=_cell_text, help="study/model/method/ratio/seed/recovery, written into the result"
    )


def _fix_batch_tokens(arguments: argparse.Namespace) -> None:
    """Settle the batch size before it is recorded, since results drift with it in low precision."""
    if arguments.batch_tokens is None:
        from hfprune.models import default_batch_tokens

        arguments.batch_tokens = default_batch_tokens()


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def _cell_text(text: str) -> "Cell":
    from hfprune.layout import parse_cell

    try:
        return parse_cell(text)
    except HfpruneError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _safetensors(text: str) -> Path:
    return _path(text, ".safetensors")


def _result(text: str) -> Path:
    return _path(text, ".json")


def _parquet(text: str) -> Path:
    return _path(text, ".parquet")


def _path(text: str, suffix: str) -> Path:
    """Insist on the suffix, since other files are written beside under the same name."""
    if not text.endswith(suffix) or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"must be a file ending in {suffix}, not {text!r}")
    return Path(text)


def _settings(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names}


def _plan_input(arguments: argparse.Namespace) -> dict[str, Path]:
    found = {"plan": arguments.plan, "checkpoint": arguments.checkpoint}
    return {role: path for role, path in found.items() if path}


def _size(left: int, total: int) -> "list[Value]":
    from hfprune.results import Value

    return [Value("parameters", float(left)), Value("parameter_ratio", 1 - left / total)]


def _change_inputs(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return what makes the measured model another than the dense one."""
    from hfprune.layout import ADAPTER

    return _plan_input(arguments) | ({"adapter": arguments.adapter / ADAPTER} if arguments.adapter else {})


def _need_change(arguments: argparse.Namespace) -> None:
    if not (arguments.plan or arguments.checkpoint or arguments.adapter):
        raise HfpruneError("give --plan or --checkpoint, --adapter, or both: this would be the dense model")


def _cell(arguments: argparse.Namespace, criterion: str = "") -> "Cell":
    from hfprune.results import DENSE, Cell

    if arguments.cell:
        return arguments.cell
    pruned = (
        any(getattr(arguments, flag, None) for flag in ("plan", "checkpoint")) or arguments.command == "plan"
    )
    method = criterion or ("pruned" if pruned else DENSE)
    ratio, seed = getattr(arguments, "ratio", None), getattr(arguments, "seed", 0)
    recovered = getattr(arguments, "adapter", None) or arguments.command == "recover"
    return Cell("by-hand", arguments.model.name, method, ratio, seed, "lora" if recovered else "none")


def _load(arguments: argparse.Namespace) -> "PreTrainedModel":
    """Load the checkpoint, or the dense model with the plan applied, and merge the adapter, where given."""
    from hfprune.models import load_checkpoint, load_model
    from hfprune.plans import apply_plan, load_plan

    if arguments.checkpoint:
        model = load_checkpoint(arguments.checkpoint, arguments.model, arguments.dtype)
    else:
        plan = load_plan(arguments.plan) if arguments.plan else None
        model = load_model(arguments.model, arguments.dtype)
        if plan is not None:
            apply_plan(model, plan)
    if getattr(arguments, "adapter", None):
        from hfprune.recovery import merge_adapter

        return merge_adapter(model, arguments.adapter, {"model": arguments.model} | _plan_input(arguments))
    return model


def _blocks(arguments: argparse.Namespace, seed: int, place: str) -> tuple["Tensor", list[int]]:
    """Draw blocks from the corpus that the arguments name; see `sample_blocks`."""
    from hfprune.assets import read_corpus
    from hfprune.calibration import sample_blocks
    from hfprune.models import load_tokenizer

    return sample_blocks(
        read_corpus(arguments.corpus),
        load_tokenizer(arguments.model),
        sequences=arguments.sequences,
        length=arguments.length,
        sampling=arguments.sampling,
        seed=seed,
        corpus=arguments.corpus.name,
        place=place,
    )
