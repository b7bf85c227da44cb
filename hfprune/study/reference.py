"""The reference with which a study's methods are compared, and the settings in which a method differs."""

from hfprune.criteria import CRITERIA
from hfprune.study.study import Study

PAPERS = "entropy"  # the paper's criterion


def reference_of(study: Study, method: str) -> str:
    """Return the reference of a method: entropy, or the first criterion of a study without entropy."""
    criteria = [other for other, settings in study.methods.items() if not settings.unscored]
    return next(name for name in (PAPERS, *criteria, *study.methods) if name in study.methods)


def differing(study: Study, method: str, reference: str) -> list[str]:
    """Return the settings in which a method differs from the reference: `criterion`, `units`, … or `baseline`.

    An option that only one of two criteria has does not count.
    """
    ours, theirs = _settings(study, method), _settings(study, reference)
    for whole in ("baseline", "model"):
        if (whole in ours) != (whole in theirs):
            return [whole]
    return [key for key in ours if key in theirs and ours[key] != theirs[key]]


def _settings(study: Study, name: str) -> dict[str, object]:
    method = study.methods[name]
    if method.baseline:
        return {"baseline": method.baseline}
    if method.model:
        return {"model": method.model, "quantised": method.quantised}
    criterion = CRITERIA.make(method.criterion or name, method.options, name)
    return {
        "criterion": method.criterion or name,
        **dict(criterion),
        "allocation": method.allocation,
        "units": method.units,
        "bias": method.bias,
        "quantised": method.quantised,
    }
