"""The method that each method of a study is compared with, and the settings in which the two differ."""

from typing import Any

from hfprune.calibration.sizes import sized
from hfprune.criteria import CRITERIA
from hfprune.study.study import Study

PAPERS = "entropy"  # the paper's criterion
CALIBRATED = {"corpus", "sequences"}


def reference_of(study: Study, method: str) -> str:
    """Return the reference of a method: entropy, or the first criterion of a study without entropy.

    If the study has this reference with the method's own calibration (corpus and number of sequences), that one is
    returned. So each size has a reference; that of methods that read no calibration is the largest.
    """
    criteria = [other for other, settings in study.methods.items() if not settings.baseline]
    sizes = study.calibration.sizes
    entropies = [PAPERS, *(sized(PAPERS, size) for size in sorted(sizes, reverse=True))]
    reference = [*(name for name in entropies if name in criteria), *criteria, *study.methods][0]
    of_size = study.methods[method].sequences in sizes
    if method == reference or (of_size and differing(study, method, reference) == ["sequences"]):
        return method
    alike = (
        other
        for other in study.methods
        if other != method
        and set(differing(study, other, reference)) <= CALIBRATED
        and not set(differing(study, method, other)) & (CALIBRATED | {"baseline"})
    )
    return next(alike, reference)


def differing(study: Study, method: str, reference: str) -> list[str]:
    """Return the settings in which a method differs from the reference: `criterion`, `corpus`, … or `baseline`.

    An option that only one of two criteria has does not count.
    """
    ours, theirs = _settings(study, method), _settings(study, reference)
    if "baseline" in ours | theirs:
        return ["baseline"]
    return [key for key in ours if key in theirs and ours[key] != theirs[key]]


def _settings(study: Study, name: str) -> dict[str, Any]:
    method = study.methods[name]
    if method.baseline:
        return {"baseline": method.baseline}
    criterion = CRITERIA.make(method.criterion or name, method.options, name)
    return {
        "criterion": method.criterion or name,
        **dict(criterion),
        "allocation": method.allocation,
        "steps": method.steps,
        "units": method.units,
        "bias": method.bias,
        "mixed_with": method.mixed_with,
        "corpus": study.corpus_of(name),
        "sequences": study.sequences_of(name),
    }
