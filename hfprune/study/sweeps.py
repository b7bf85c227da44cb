"""The criteria of a study, and which of its methods are scored together."""

import json
from collections.abc import Mapping

from hfprune.criteria import Criterion, make_criterion
from hfprune.errors import HfpruneError
from hfprune.study.study import Study


def criteria_of(study: Study) -> dict[str, Criterion]:
    """Return the criterion of every method that is no baseline, with its options, by the method's name.

    Raises:
        HfpruneError: an unknown criterion or option, or a method of weights only that names blocks.
    """
    found = {}
    for name, method in study.methods.items():
        if method.baseline:
            continue
        place, chosen = f"study: methods.{name}", method.criterion or name
        found[name] = make_criterion(chosen, method.options, place, [*method.units])
        if found[name].needs == "weights" and (method.corpus or method.sequences):
            raise HfpruneError(f"{place}: {chosen} reads weights only; remove corpus and sequences")
        if found[name].needs == "weights" and method.steps > 1:
            raise HfpruneError(f"{place}: {chosen} reads weights, which no step changes; remove steps")
    return found


def sweeps(study: Study, criteria: Mapping[str, Criterion]) -> list[tuple[list[str], list[str]]]:
    """Return methods that are scored together, since they read the same blocks in the same way, with their models.

    A model is among those of its own methods.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for model in study.models:
        groups: dict[tuple, list[str]] = {}
        for name in study.methods_of(model):
            if name not in criteria:  # a baseline
                continue
            method, needs = study.methods[name], criteria[name].needs
            read = None if needs == "weights" else (study.corpus_of(name), method.sequences)
            groups.setdefault((needs, read, json.dumps([*method.units])), []).append(name)
        for methods in groups.values():
            found.setdefault(tuple(methods), []).append(model)
    return [([*methods], models) for methods, models in found.items()]
