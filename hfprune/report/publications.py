"""The files that a study publishes, and those from which they are made."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hfprune.report.publication import FIGURES, publication_names
from hfprune.study import paths
from hfprune.study.study import Study


class Publications(NamedTuple):
    """The files of a study by what makes them; paths are relative to the working folder."""

    measured: list[str]
    """Results, and the outcomes of single items beside them."""
    cuts: list[str]
    """Scores and plans, with those of resampled calibrations."""
    tidy: list[str]
    analysed: list[str]
    tables: dict[str, str]
    """By name, without suffix."""
    figures: dict[str, str]

    def forms(self, kind: str) -> list[str]:
        """Return the files of `tables` or `figures`, in every format."""
        stems = getattr(self, kind).values()
        suffixes = ("csv", "md", "tex") if kind == "tables" else ("svg", "pdf", "png")
        return [f"{stem}.{suffix}" for stem in stems for suffix in suffixes]

    def all(self) -> list[str]:
        """Return all files by name, since a deleted result is made again only if it is asked for."""
        results = [*self.measured, *self.tidy, *self.analysed]
        return [*results, *self.forms("tables"), *self.forms("figures")]


def publications(name: str, study: Study, collected: Iterable[Path]) -> Publications:
    """Return the files of a study; `collected` are those that `hfprune.stages.jobs.collected` returns."""

    def here(files: list[str] | tuple[str, ...]) -> list[str]:
        return [f"results/{name}/{file}" for file in files]

    kinds = {entry.measure or measure for measure, entry in study.measures.items()}
    recoveries = [
        *study.recoveries,
        *(recovery for model in study.models.values() for recovery in model.recoveries or ()),
    ]
    kinds |= {step for recovery in recoveries for step in recovery.steps}
    if any(len(read.sizes) > 1 for read in study.calibrations.values()):
        kinds.add("sizes")
    shows = {
        figure: {*str(outline.constants.get("shows", "")).split()}
        for figure, outline in FIGURES.outlines().items()
    }
    figures = [
        figure for figure in publication_names("figures") if not shows[figure] or kinds & shows[figure]
    ]
    written = [*map(str, collected)]
    return Publications(
        measured=[file for file in written if not file.endswith(".safetensors")],
        cuts=[file for file in written if file.endswith(".safetensors")],
        tidy=here(paths.TIDY),
        analysed=here(paths.ANALYSED),
        tables={table: f"results/{name}/tables/{table}" for table in publication_names("tables")},
        figures={figure: f"figures/{name}/{figure}" for figure in figures},
    )
