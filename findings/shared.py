"""What studies have in common, so that their rows are not independent: samples, documents, questions, training."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from findings.markdown import unpadded
from hfprune.assets.catalogue import Catalogue, CorpusAsset
from hfprune.settings import load
from hfprune.study.study import Study

CATALOGUE = Path(__file__).parents[1] / "config/assets.yaml"
# What decides a calibration sample, beside the draw.
SAMPLE = {"corpus", "sampling", "length", "sequences", "continued_after"}


class Use(NamedTuple):
    """What a study reads: a part [start, end) of a source."""

    what: str
    source: str
    start: float = 0
    end: float = 1


def uses(study: Study, corpora: Mapping[str, CorpusAsset]) -> Iterator[Use]:
    """Yield all that a study reads."""
    for calibration in study.calibrations.values():
        sample = calibration.model_dump_json(include=SAMPLE)
        yield from (Use("calibration samples", sample, draw, draw + 1) for draw in study.draws)
        yield from _documents("documents of the calibration", calibration.corpus, corpora)
    for measure in study.make_measures().values():
        for kind, _, name in (asset.partition("/") for asset in measure.assets()):
            if kind == "corpora":
                yield from _documents("texts", name, corpora)
            else:
                yield Use("questions", name)
    if study.recovery and any(map(study.trains, study.models)):
        yield Use("training pairs", study.recovery.instructions)


def _documents(what: str, name: str, corpora: Mapping[str, CorpusAsset]) -> Iterator[Use]:
    """Yield the parts of files that a corpus is; one that the catalogue no longer has is a file of its own."""
    for text in corpora[name].texts() if name in corpora else []:
        start, end = text.documents or (0, float("inf"))
        yield Use(what, text.source.model_dump_json(), start, end)
    if name not in corpora:
        yield Use(what, name)


def groups(used: Mapping[str, list[Use]]) -> dict[frozenset[str], list[str]]:
    """Return the largest groups of studies that have something in common, each with what that is."""
    common: dict[str, set[frozenset[str]]] = {}
    for use in [use for uses in used.values() for use in uses]:
        here = frozenset(study for study, uses in used.items() if any(_has(other, use) for other in uses))
        common.setdefault(use.what, set()).add(here)
    shared: dict[frozenset[str], list[str]] = {}
    for what, several in common.items():
        for group in several:
            if len(group) > 1 and not any(group < other for other in several):
                shared.setdefault(group, []).append(what)
    return shared


def _has(use: Use, point: Use) -> bool:
    """Tell whether a use has what another begins with."""
    return (use.what, use.source) == (point.what, point.source) and use.start <= point.start < use.end


def table(studies: Mapping[str, Study]) -> str:
    """Return a Markdown table with a row for each group of studies."""
    corpora = load(Catalogue, CATALOGUE).corpora
    shared = groups({name: [*dict.fromkeys(uses(study, corpora))] for name, study in studies.items()})
    rows = [
        [", ".join(what), ", ".join(f"`{name}`" for name in sorted(group))] for group, what in shared.items()
    ]
    return unpadded(sorted(rows), ["in common", "studies"])
