"""Measure a dense, pruned or recovered model, or the cost of scoring by a criterion.

`hfprune methods` lists the measures; `hfprune measure MEASURE --help` lists the settings of one.
"""

import argparse
import sys
from typing import ClassVar

from pydantic import Field

from hfprune.assets.places import resources_folder
from hfprune.commands.flags import add_fields
from hfprune.commands.flags import read as read_fields
from hfprune.commands.parser import Parser
from hfprune.measurement import MEASURES, NamedMeasure
from hfprune.settings import Name, Placement
from hfprune.stages.fields import Computing, DenseModel, Resources
from hfprune.stages.measure import CellFiles, MeasureCells, ScoredBy, ToMeasure


class ModelFlags(Computing, Placement):
    """The flags of `hfprune measure` that belong neither to the cell nor to the measure."""

    model: DenseModel
    resources: Resources = Field(default_factory=resources_folder)
    name: Name | None = Field(default=None, description="name of the measure in its results (MEASURE)")


class MeasureOne(MeasureCells):
    """The results of one measure on one model, whose flags depend on the measure."""

    example: ClassVar = (
        "hfprune measure perplexity --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
        "--corpus wikipedia-sample --sequences 24 --length 256 --out by-hand"
    )

    @staticmethod
    def add_flags(parser: Parser) -> None:
        """Add the flags of model and cell, and the settings of the measure that the command line names."""
        parser.usage = "hfprune measure MEASURE [flags]"  # the flags depend on the measure
        parser.add_argument("measure", metavar="MEASURE", help=", ".join(sorted(MEASURES.sources())))
        add_fields(parser, ModelFlags)
        add_fields(parser, CellFiles)
        if sys.argv[2:3] and not sys.argv[2].startswith("-"):
            kind = MEASURES.load(sys.argv[2])
            # `RESERVED` keeps the names apart.
            if kind.needs == "criterion":
                add_fields(parser, ScoredBy)
            add_fields(parser, kind)

    @staticmethod
    def read(namespace: argparse.Namespace) -> MeasureCells:
        """Return the job that measures one cell with these flags.

        Raises:
            HfpruneError: the measure refuses a setting; the line starts with the flag.
        """
        kind = MEASURES.load(namespace.measure)
        model, cell = read_fields(ModelFlags, namespace), read_fields(CellFiles, namespace)
        scored = read_fields(ScoredBy, namespace) if kind.needs == "criterion" else None
        settings = read_fields(kind, namespace).model_dump(exclude_unset=True)
        entry = NamedMeasure(measure=namespace.measure, settings=settings)
        return MeasureCells(
            measures={model.name or namespace.measure: entry},
            cells=[ToMeasure(**dict(cell), scored=scored)],
            **model.model_dump(exclude={"name"}),
        )
