"""Measure a dense, pruned or recovered model, or the cost of scoring by a criterion.

`hfprune methods` lists the measures; `hfprune measure MEASURE --help` lists the settings of one.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from hfprune.commands.flags import CellName, ExistingPath, add_fields
from hfprune.commands.flags import read as read_fields
from hfprune.commands.scoring import Scoring
from hfprune.commands.target import Pruned, cell_of
from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.measures import MEASURES, Measure
from hfprune.registry import source_file
from hfprune.settings import Dtype
from hfprune.study.placement import Placement
from hfprune.subject import Subject, ToScore

EXAMPLE = (
    "hfprune measure perplexity --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
    "--corpus wikipedia-sample --sequences 24 --length 256 --out by-hand"
)


class Config(Pruned, Placement):
    """Flags of every measure."""

    name: str | None = Field(default=None, description="name of the measure in its results (MEASURE)")
    resources: Path = Field(default=Path("resources"), description="folder of the fetched assets")
    resampled: ExistingPath | None = Field(
        default=None,
        description="plans of resampled calibrations (`hfprune plan --resampled`), measured beside the plan",
    )
    cell: CellName = None
    out: Path = Field(description="folder of the results: NAME.json, or NAME with one file per task")


class OfScoring(Scoring):
    """Flags of measures of scoring: the criterion and the blocks."""

    criterion: str = Field(description="one that `hfprune methods` lists")
    options: dict[str, Any] = Field(default={}, description="options of the criterion as JSON")


class Asked(NamedTuple):
    """The measure that the command line names, with its settings and flags."""

    name: str
    measure: Measure
    config: Config
    scoring: OfScoring | None
    """For a measure of scoring: the criterion and its blocks."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of every measure, and the settings of the one that the command line names."""
    parser.add_argument("measure", metavar="MEASURE", help=", ".join(sorted(MEASURES.sources())))
    add_fields(parser, Config)
    if sys.argv[2:3] and not sys.argv[2].startswith("-"):
        kind = MEASURES.load(sys.argv[2])
        # `RESERVED` keeps the names apart.
        if kind.needs == "criterion":
            add_fields(parser, OfScoring)
        add_fields(parser, kind)


def read(namespace: argparse.Namespace) -> Asked:
    """Return the measure that the command line names, with its settings and flags."""
    kind = MEASURES.load(namespace.measure)
    scoring = read_fields(OfScoring, namespace) if kind.needs == "criterion" else None
    config, measure = read_fields(Config, namespace), read_fields(kind, namespace)
    if kind.needs == "beside":
        config.require_change()
    if config.device_map:
        kind.require_spread(namespace.measure)
        if config.adapter:
            raise HfpruneError("--adapter is merged into weights on one device: remove --device-map")
    if config.resampled and not kind.resampled:
        raise HfpruneError(f"{namespace.measure} is not measured on resampled plans: remove --resampled")
    if config.resampled and (config.adapter or not config.plan):
        raise HfpruneError("--resampled needs --plan, and no --adapter")
    if kind.needs in ("dense", "criterion") and config.change_inputs():
        raise HfpruneError(
            f"{namespace.measure} measures the dense model: remove --plan, --checkpoint and --adapter"
        )
    return Asked(config.name or namespace.measure, measure, config, scoring)


def run(asked: Asked) -> None:
    """Run the measure and write its results."""
    from hfprune.measuring import settled, take
    from hfprune.plans.plan import plan_note
    from hfprune.results import read_result, values_table
    from hfprune.study.layout import stems

    name, measure, config, scoring = asked
    measure = settled(measure)
    dtype = measure.dtype or config.dtype
    subject, inputs = _subject(config, dtype)
    inputs |= {"measure": source_file(measure)}
    settings: dict[str, Any] = {"dtype": dtype}
    cell = config.named_cell(config.cell)
    if scoring:
        criterion = make_criterion(scoring.criterion, scoring.options, "--options", [*scoring.units])
        scoring.check_blocks(scoring.criterion, criterion)
        subject.scoring = ToScore(criterion, scoring.tokens(), [*scoring.units], scoring.seed)
        inputs |= scoring.inputs(criterion)
        settings |= {"scoring": scoring.settings(scoring.criterion, criterion)}
        cell = cell_of(config.cell, config.model, scoring.criterion, seed=scoring.seed)
    note = plan_note(config.plan) if config.plan else ""
    take(measure, name, subject, cell, config.out, inputs, note, config.placement(), **settings)
    print(values_table([read_result(config.out / f"{stem}.json") for stem in stems(name, measure)]))


def _subject(config: Config, dtype: Dtype | None) -> "tuple[Subject, dict[str, Path]]":
    """Return the subject, which loads its models when needed, and its input files by role."""
    from hfprune.models.load import load_model, load_skeleton, load_tokenizer
    from hfprune.plans.plan import check_plan, load_plan
    from hfprune.scoring.scores import load_resampled

    changed = config.change_inputs()
    if config.plan:  # before the dense model's part of the work
        check_plan(load_skeleton(config.model), load_plan(config.plan))
    plans = load_resampled(config.resampled) if config.resampled else []
    subject = Subject(
        lambda: config.load(dtype, **config.placement()),
        (lambda: load_model(config.model, dtype, **config.placement())) if changed else None,
        change=None if config.checkpoint else config.change,
        tokenizer=lambda: load_tokenizer(config.model),
        resources=config.resources,
        resampled=plans,
    )
    inputs = {"model": config.model} | changed
    return subject, inputs | ({"resampled": config.resampled} if config.resampled else {})
