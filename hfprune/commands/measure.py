"""Measure a dense, pruned or recovered model, or the cost of scoring by a criterion.

`hfprune methods` lists the measures; `hfprune measure MEASURE --help` lists the settings of one.
"""

import argparse
import sys
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import Field

from hfprune.commands.flags import add_fields
from hfprune.commands.flags import read as read_fields
from hfprune.commands.measured import Measured
from hfprune.commands.scoring import Scoring
from hfprune.commands.target import cell_of
from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import ToScore
from hfprune.measures import MEASURES, Measure

EXAMPLE = (
    "hfprune measure perplexity --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
    "--corpus wikipedia-sample --sequences 24 --length 256 --out by-hand"
)


class Config(Measured):
    """Flags of every measure."""

    name: str | None = Field(default=None, description="name of the measure in its results (MEASURE)")


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
    config.check(namespace.measure, kind)
    if config.resampled and not kind.resampled:
        raise HfpruneError(f"{namespace.measure} is not measured on resampled plans: remove --resampled")
    return Asked(config.name or namespace.measure, measure, config, scoring)


def run(asked: Asked) -> None:
    """Run the measure and write its results."""
    from hfprune.measures import stems
    from hfprune.measuring import settled, take
    from hfprune.results import read_result, values_table

    name, measure, config, scoring = asked
    measure = settled(measure)
    dtype = measure.dtype or config.dtype
    target = config.target(dtype)
    settings: dict[str, Any] = {"dtype": dtype}
    if scoring:
        criterion = make_criterion(scoring.criterion, scoring.options, "--options", [*scoring.units])
        scoring.check_blocks(scoring.criterion, criterion)
        target.subject.scoring = ToScore(criterion, scoring.tokens(), [*scoring.units], scoring.seed)
        settings |= {"scoring": scoring.settings(scoring.criterion, criterion)}
        cell = cell_of(config.cell, config.model, scoring.criterion, seed=scoring.seed)
        target = replace(target, cell=cell, inputs=target.inputs | scoring.inputs(criterion))
    take({name: measure}, [target], config.placement(), **settings)
    print(values_table([read_result(config.out / f"{stem}.json") for stem in stems(name, measure)]))
