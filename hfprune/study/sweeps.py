"""The criteria of a study, and which of its methods are scored together."""

import json
from collections.abc import Mapping

from hfprune.criteria import Criterion, make_criterion
from hfprune.errors import HfpruneError
from hfprune.study.study import Study


def criteria_of(study: Study, where: str = "study") -> dict[str, Criterion]:
    """Return the criterion of every method that is no baseline, with its options, by the method's name.

    Raises:
        HfpruneError: an unknown criterion or option, or a method of weights only that names blocks.
    """
    found = {}
    for name, method in study.methods.items():
        if method.baseline:
            continue
        place, chosen = f"{where}: methods.{name}", method.criterion or name
        found[name] = make_criterion(chosen, method.options, place, [*method.units])
        if found[name].needs == "weights" and (method.corpus or method.sequences):
            raise HfpruneError(f"{place}: {chosen} reads weights only; remove corpus and sequences")
    return found


def sweeps(study: Study, criteria: Mapping[str, Criterion]) -> list[list[str]]:
    """Return the methods that are scored together: those that read the same blocks in the same way."""
    groups: dict[tuple, list[str]] = {}
    for name, criterion in criteria.items():
        method = study.methods[name]
        read = None if criterion.needs == "weights" else (study.corpus_of(name), method.sequences)
        groups.setdefault((criterion.needs, read, json.dumps([*method.units])), []).append(name)
    return [*groups.values()]
