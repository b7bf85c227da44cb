"""Rivals of the pruned model: what else makes a model smaller, measured as it is."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hfprune.cells import DENSE, read_result
from hfprune.cells.recovery import Recovery
from hfprune.comparison.before_after import SPEED, STORAGE, Measured, Sides, read_sides
from hfprune.comparison.rows import qualities_of, speeds_of
from hfprune.errors import HfpruneError
from hfprune.models.shape import known_shapes
from hfprune.pruning.config import Pruning
from hfprune.stages import Stage
from hfprune.stages.measure import MeasureCells
from hfprune.study.files import Files

# Before the titles of their jobs.
RIVAL = "rival "
_SIZE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])")


def smaller_of(asked: Pruning, known: Iterable[str]) -> str:
    """Return the smaller model that is asked for, "" for none: as it is spelt, or the next of the series.

    Names of a series are the same but for the size, as `qwen2.5-0.5b` and `qwen2.5-1.5b`; `known` are those of the
    catalogue. One whose vocabulary is known to be of another size, as that of `qwen2.5-7b`, is passed over.

    Raises:
        HfpruneError: no smaller model of the series is known.
    """
    spelt = [word.removeprefix("smaller").removeprefix("=") for word in asked.beside if word != "quantised"]
    if not spelt or spelt[-1]:
        return "".join(spelt[-1:])
    own = Path(asked.model.partition("@")[0]).name.lower()
    series, size = _series(own)
    words = {name: shape.vocabulary for name, shape in known_shapes().items()}
    sizes = {
        name: of_name
        for name in known
        if (of_name := _series(name))[0] == series and of_name[1] < size
        if own not in words or words.get(name, words[own]) == words[own]
    }
    if not sizes:
        raise HfpruneError(
            f"--beside smaller: the catalogue has no smaller model of the series of {asked.model} with its "
            "vocabulary; name one, as --beside smaller=MODEL"
        )
    return max(sizes, key=lambda name: sizes[name][1])


def _series(name: str) -> tuple[str, float]:
    """Return a model's name without its size, and the size in millions, 0 where it says none."""
    found = _SIZE.search(name.lower())
    millions = float(found[1]) * (1000 if found[2] == "b" else 1) if found else 0.0
    return _SIZE.sub("", name.lower(), 1), millions


def rival_jobs(
    files: Files, asked: Pruning, exported: MeasureCells, measured: Mapping[str, MeasureCells]
) -> dict[str, Stage]:
    """Return the jobs that measure rivals by all that is measured of any step, by their titles."""
    measures = {name: entry for job in measured.values() for name, entry in job.measures.items()}
    (pruned,) = exported.cells
    assert pruned.cell
    plain = replace(pruned.cell, method=DENSE, recovery=Recovery.NONE)
    whole: dict[str, object] = {"cell": plain, "plan": None, "linear": None, "adapter": None}
    rivals: dict[str, dict[str, object]] = {}
    if "quantised" in asked.beside:
        rivals = {f"dense, {bits} bits": whole | {"quantised": bits} for bits in (8, 4)}
        rivals["pruned, 8 bits"] = {"cell": pruned.cell, "quantised": 8}
    for asset, folder in files.elsewhere.items():
        if asset.startswith("smaller/"):
            rivals[folder.name] = whole | {"instead": folder}
    jobs: dict[str, Stage] = {}
    for name, change in rivals.items():
        own = pruned.model_copy(update=change | {"out": files.results / "rivals" / re.sub(r"\W+", "-", name)})
        job = MeasureCells(**dict(exported) | {"measures": measures, "cells": [own]})
        job.follow(next(iter(measured.values())))
        jobs[RIVAL + name] = job
    return jobs


def rival_lines(sides: Sides, step: str, jobs: Mapping[str, Stage]) -> list[list[str]]:
    """Return the headings and a line per model: bytes, and outcomes with their changes against the dense model.

    Bytes of weights that are not quantised are those of the precision in which all were compared.

    What no step after pruning changes was measured after one of them.
    """
    steps = [side for name, side in sides.items() if name != DENSE]
    once = {key: x for side in steps for key, x in side.items() if key[0] in (SPEED, STORAGE)}
    models = {step: once | sides[step]}
    dtype = next((job.dtype for job in jobs.values() if isinstance(job, MeasureCells)), None)
    for title, job in jobs.items():
        if title.startswith(RIVAL):
            results = {file: read_result(file) for file in job.outputs() if file.suffix == ".json"}
            models[title.removeprefix(RIVAL)] = {
                key: side for of_step in read_sides(results).values() for key, side in of_step.items()
            }
    rows = {}
    for name, side in models.items():
        both = {DENSE: sides[DENSE], name: side}
        rows[name] = {row.label: row.words() for row in [*qualities_of(both, name), *speeds_of(both, name)]}
    labels = [*rows[step]]
    held = f"weights in {dtype}, MB" if dtype else "weights, MB"
    lines = [["", held, "with KV cache, MB", *labels], [DENSE, *_megabytes(sides[DENSE])]]
    lines[1] += [rows[step][label][1] for label in labels]
    for name, side in models.items():
        cells = [rows[name].get(label) for label in labels]
        lines.append([name, *_megabytes(side), *(f"{cell[2]} ({cell[4]})" if cell else "" for cell in cells)])
    return lines


def _megabytes(side: Mapping[tuple[str, str], Measured]) -> list[str]:
    """Return the bytes on disk, and in memory with a KV cache; "" where no times were taken."""
    found = [side.get((STORAGE, "")), side.get((SPEED, ""))]
    names = "disk_bytes", "memory_bytes"
    return [f"{x.values[name] / 1e6:,.1f}" if x else "" for x, name in zip(found, names, strict=True)]
