"""Score every unit of a model by one or more criteria."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.evaluation.work import Case
from hfprune.files import require_writable
from hfprune.models.placement import Placement
from hfprune.models.shape import Shape
from hfprune.provenance import Stopwatch, fingerprint, is_current, provenance, recorded, stable
from hfprune.results import Cell, Value, write_result
from hfprune.scoring.passes import SUMS_SHARE
from hfprune.stages.fields import (
    BatchTokens,
    CellName,
    ComputeDtype,
    DenseModel,
    ExistingPath,
    Safetensors,
)
from hfprune.stages.scoring import Scoring
from hfprune.stages.target import cell_of
from hfprune.study.layout import RESAMPLED
from hfprune.study.study import Calibration, Resamples

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.criteria import Criterion
    from hfprune.plans.plan import Plan
    from hfprune.scoring.score import Scored
    from hfprune.scoring.scores import Scores

EXAMPLE = (
    "hfprune score --model resources/models/smollm2-135m-instruct-q4 --blocks blocks.safetensors "
    "--criterion entropy --out scores.safetensors"
)


class Config(Scoring, Placement):
    """Flags of `hfprune score`."""

    model: DenseModel
    plan: ExistingPath | None = Field(
        default=None,
        description="plan of the step before: scores what it has left, and what it has removed as -inf",
    )
    criterion: list[str] = Field(
        default=[],
        description="one or more of those that `hfprune methods` lists; they share passes",
    )
    options: dict[str, Any] = Field(
        default={}, description="options of the criterion as JSON; for several criteria, by name"
    )
    methods: dict[str, dict[str, Any]] = Field(
        default={}, description="instead of --criterion: {criterion, options} by method, as JSON"
    )
    sequences: PositiveInt | None = Field(
        default=None, description="number of blocks to read, from the first (all)"
    )
    resamples: Resamples = Calibration.model_fields["resamples"]  # type: ignore[assignment]
    batch_tokens: BatchTokens = None
    dtype: ComputeDtype = None
    cell: CellName = None
    out: Safetensors = Field(
        description="scores; agreement and cost go to .json beside them, those of resampled calibrations to "
        ".resampled.safetensors; for several, with {method} in the name"
    )

    def file_of(self, method: str) -> Path:
        """Return the file of the scores by one method."""
        return Path(str(self.out).replace("{method}", method))

    def files(self, method: str) -> list[Path]:
        """Return the files of the scores by one method: its own and, if asked for, the resampled ones."""
        file = self.file_of(method)
        return [file, file.with_suffix(RESAMPLED)] if self.resamples else [file]


def run(config: Config) -> None:
    """Score by all methods without current scores, and write the scores of each."""
    methods = chosen(config)

    from hfprune.models.load import default_batch_tokens
    from hfprune.plans.plan import load_plan

    # Fixed before it is recorded, since results depend on it in low precision.
    batch_tokens = config.batch_tokens or default_batch_tokens()
    blocks = config.tokens(config.sequences)
    used = {
        "dtype": config.dtype,
        "batch_tokens": batch_tokens,
        "blocks": 0 if blocks is None else len(blocks),
    }
    plan = load_plan(config.plan) if config.plan else {}
    before = {"plan": config.plan} if config.plan else {}
    used |= {"steps": _steps(config.plan)} if config.plan else {}
    # What the plan before has removed depends on the draw too, so its resamples would have other plans before.
    resamples = 0 if config.plan else config.resamples
    origins = {
        name: (
            {"model": config.model} | before | config.inputs(criterion),
            config.settings(criterion_name, criterion)
            | used
            # Other criteria have the same scores with and without.
            | ({"resamples": resamples} if resamples and criterion.resampled else {}),
        )
        for name, (criterion_name, criterion) in methods.items()
    }
    todo = [
        name
        for name, about in origins.items()
        if not is_current(config.file_of(name).with_suffix(".json"), config.files(name), *about)
    ]
    for name in origins.keys() - todo:
        print(f"score: {config.file_of(name)} is already there", file=sys.stderr)
    if not todo:
        return
    for name in todo:
        require_writable(config.file_of(name))  # before the sweep, which may take hours
    # A killed run leaves its sums here, and the same call resumes from them.
    state = config.file_of(sweep_name(methods)).with_suffix(".state")
    model, whole = _load(config, plan)
    tokens, watch, found = score_as_fits(
        {name: methods[name][1] for name in todo},
        model,
        blocks,
        [*config.units],
        batch_tokens,
        seed=config.seed,
        documents=config.documents(config.sequences),
        resamples=resamples,
        state=state,
        identity="".join(fingerprint(*origins[name]) for name in todo),
    )
    for name, scored in found.items():
        if config.resamples and methods[name][1].resampled and not scored.resampled:
            reason = (
                "another draw would have another plan before"
                if config.plan
                else "the sequences leave one of the folds empty"
            )
            print(f"{name}: no resamples, since {reason}", file=sys.stderr)
        inputs, settings = origins[name]
        made = provenance(watch, inputs, **settings) | {
            "curve": scored.curve,
            "batch_tokens_that_fitted": tokens,
            "drawn": config.drawn(),
        }
        cell = (config.cell or "").replace("{method}", name) or None
        scored = scored._replace(scores=whole(scored.scores))
        found_for = cell_of(cell, config.model, name, seed=config.seed)
        write_scores(config.files(name), scored, found_for, made, removed=bool(plan))
    shutil.rmtree(state, ignore_errors=True)


def _steps(plan: Path) -> int:
    """Return the number of the step that scores what `plan` has left; another tool's plan counts as one step."""
    return 1 + recorded(plan).get("settings", {}).get("scoring", {}).get("steps", 1)


def _load(config: Config, plan: "Plan") -> "tuple[PreTrainedModel, Callable[[Scores], Scores]]":
    """Return what a plan has left of the model, and a function that makes its scores those of the dense model."""
    from hfprune.models.load import load_model
    from hfprune.models.units import units_of
    from hfprune.plans.plan import apply_plan, scores_of_dense

    model = load_model(config.model, config.dtype, device_map=config.device_map)
    counts = {name: units.count for name, units in units_of(model, config.units).items()}
    if plan:
        apply_plan(model, plan)
    return model, lambda scores: scores_of_dense(scores, plan, counts) if plan else scores


def chosen(config: Config) -> "dict[str, tuple[str, Criterion]]":
    """Return, by method, the name of its criterion and the criterion with its options.

    Raises:
        HfpruneError: an unknown criterion or option, or a criterion that needs blocks and gets none.
    """
    names = list(dict.fromkeys(config.criterion))
    if bool(names) == bool(config.methods):
        raise HfpruneError("give either --criterion or --methods")
    several = len(names) > 1
    if (several or len(config.methods) > 1) and "{method}" not in str(config.out):
        raise HfpruneError("--out must contain {method} when several methods are scored")
    if several and (unknown := set(config.options) - set(names)):
        raise HfpruneError(
            f"--options for several criteria are keyed by name; {min(unknown)!r} is not one of {names}"
        )
    options = config.options if several else dict.fromkeys(names, config.options)
    methods = config.methods or {
        name: {"criterion": name, "options": options.get(name, {})} for name in names
    }
    found = {}
    for method, about in methods.items():
        name = about.get("criterion", method)
        criterion = make_criterion(name, about.get("options", {}), "--criterion/--options", [*config.units])
        config.check_blocks(name, criterion)
        found[method] = name, criterion
    return found


def sweep_name(methods: Iterable[str]) -> str:
    """Return a short name for the methods that are scored together; file names have limits."""
    joined = "+".join(methods)
    return joined if len(joined) < 64 else hashlib.sha256(joined.encode()).hexdigest()[:16]


def score_as_fits(
    criteria: "dict[str, Criterion]",
    model: "PreTrainedModel",
    blocks: "Tensor | None",
    units: list[str],
    batch_tokens: int,
    **settings: Any,
) -> "tuple[int, Stopwatch, dict[str, Scored]]":
    """Score with as many sequences at a time as memory holds; return their tokens, the cost and the scores.

    Raises:
        HfpruneError: even one sequence does not fit into memory.
    """
    import torch
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    from hfprune.scoring.score import score

    length = 1 if blocks is None else blocks.shape[1]
    most = sequences = max(1, batch_tokens // length)
    if model.device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(model.device)
        # What the allocator keeps, but has handed to nobody.
        free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        settings["sums_room"] = SUMS_SHARE * memory
        case = Case(Shape.of_config(model.config.to_dict()), str(model.dtype)[6:], on_gpu=True, room=memory)
        # Of weights that lie elsewhere, none is in the way.
        case = replace(case, room=free + case.shape.weights(case.width))
        sequences = case.fitting(criteria, length, units, batch_tokens)
        if sequences < most:
            print(f"memory holds {sequences * length} tokens at a time", file=sys.stderr)
    while sequences:
        watch = Stopwatch()
        try:
            found = score(criteria, model, blocks, units, batch_tokens=sequences * length, **settings)
        except Exception as error:
            if not should_reduce_batch_size(error):
                raise
        else:
            return sequences * length, watch, found
        # Here, the error is gone, whose frames held tensors.
        clear_device_cache(garbage_collection=True)
        sequences //= 2
        if sequences:
            print(f"memory ran out: now {sequences * length} tokens at a time", file=sys.stderr)
    hint = "take shorter ones (`hfprune calibrate --length`)"
    raise HfpruneError(f"not even one sequence of {length} tokens fits into memory; {hint}")


def write_scores(
    files: list[Path], scored: "Scored", cell: "Cell", made: dict[str, Any], *, removed: bool
) -> None:
    """Write the scores by one method to `Config.files`, and the agreement and cost to `.json` beside them."""
    from hfprune.scoring.scores import save_resampled, save_scores

    out, *resampled = files
    out.with_suffix(".json").unlink(missing_ok=True)  # it is of what is replaced now
    for path in resampled:
        save_resampled(path, scored.resampled, stable(made))
    about = stable(made) | {"curve": scored.curve, "drawn": made["drawn"]}
    save_scores(out, scored.scores, about, removed=removed)
    values = []
    if scored.curve:
        last = scored.curve[-1]
        values = [Value("sequences", last["sequences"]), Value("agreement", last["agreement"])]
    write_result(out.with_suffix(".json"), cell, "cost", "", values, made)
