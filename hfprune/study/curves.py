"""The methods of a study that read samples of several sizes, under the name that they have in common."""

from hfprune.calibration.sizes import sized
from hfprune.study.study import Study


def curves(study: Study, model: str | None = None) -> dict[str, dict[int, str]]:
    """Return the names of methods by size, by the name without the size; of a model, those that it takes."""
    found: dict[str, dict[int, str]] = {}
    for name in study.methods if model is None else study.methods_of(model):
        size = study.methods[name].sequences
        if size in study.calibration.sizes and name.endswith(sized("", size)):
            found.setdefault(name.removesuffix(sized("", size)), {})[size] = name
    return {base: dict(sorted(of_size.items())) for base, of_size in found.items()}
