"""Measure a dense, pruned or recovered model, or the cost of scoring by a criterion.

`hfprune methods` lists the measures; `hfprune measure MEASURE --help` lists the settings of one.
"""

import argparse
import sys
from pathlib import Path

from pydantic import Field

from hfprune.commands.flags import add_fields
from hfprune.commands.flags import read as read_fields
from hfprune.measures import MEASURES
from hfprune.models.placement import Placement
from hfprune.settings import Name
from hfprune.stages import measure
from hfprune.stages.fields import ComputeDtype, DenseModel, Resources
from hfprune.stages.measure import CellFiles, Config, Scored, ToMeasure
from hfprune.study.entries import StudyMeasure

EXAMPLE = (
    "hfprune measure perplexity --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
    "--corpus wikipedia-sample --sequences 24 --length 256 --out by-hand"
)


class One(Placement):
    """Flags of every measure, besides those of the cell."""

    model: DenseModel
    dtype: ComputeDtype = None
    resources: Resources = Path("resources")
    name: Name | None = Field(default=None, description="name of the measure in its results (MEASURE)")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of every measure, and the settings of the one that the command line names."""
    parser.usage = "hfprune measure MEASURE [flags]"  # its settings are known once the measure is
    parser.add_argument("measure", metavar="MEASURE", help=", ".join(sorted(MEASURES.sources())))
    add_fields(parser, One)
    add_fields(parser, CellFiles)
    if sys.argv[2:3] and not sys.argv[2].startswith("-"):
        kind = MEASURES.load(sys.argv[2])
        # `RESERVED` keeps the names apart.
        if kind.needs == "criterion":
            add_fields(parser, Scored)
        add_fields(parser, kind)


def read(namespace: argparse.Namespace) -> Config:
    """Return the job of one measure and one cell that the command line names."""
    kind = MEASURES.load(namespace.measure)
    one, cell = read_fields(One, namespace), read_fields(CellFiles, namespace)
    scored = read_fields(Scored, namespace) if kind.needs == "criterion" else None
    settings = read_fields(kind, namespace).model_dump(exclude_unset=True)
    return Config(
        measures={one.name or namespace.measure: StudyMeasure(measure=namespace.measure, settings=settings)},
        cells=[ToMeasure(**dict(cell), scored=scored)],
        **one.model_dump(exclude={"name"}),
    )


def run(config: Config) -> None:
    """Take the measures, write their results, and print them."""
    measure.run(config)
