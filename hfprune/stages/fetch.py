"""Download, check and convert models, corpora, tasks and other assets into the resources folder."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from hfprune.assets.catalogue import Catalogue
from hfprune.errors import HfpruneError
from hfprune.settings import Name, Strict, load, nearest
from hfprune.stages.fields import CatalogueFile, Positional, Resources, StudyPath
from hfprune.study.references import load_study, study_assets, with_models

EXAMPLE = "hfprune fetch --study config/studies/demo.yaml"


class Config(Strict):
    """Flags of `hfprune fetch`."""

    assets: Annotated[list[str], Positional("KIND/NAME")] = Field(
        default=[],
        description="e.g. models/smollm2-135m-instruct-q4, tasks/piqa; also a file or a place on the hub, as "
        "models/OWNER/NAME[@REVISION][/FILE.gguf], models/my/model.gguf, corpora/my/text.jsonl",
    )
    models: dict[Name, str] = Field(
        default={},
        description="models that the catalogue lacks: a folder, a file or a place on the hub by name",
    )
    study: StudyPath | None = Field(default=None, description="fetch everything that this study needs")
    catalogue: CatalogueFile = Path("config/assets.yaml")
    resources: Resources = Path("resources")


def run(config: Config) -> None:
    """Fetch the named assets, and those that the study needs."""
    catalogue = with_models(load(Catalogue, config.catalogue), config.models, "--models")
    wanted = list(config.assets)
    if config.study:
        study, catalogue = load_study(config.study, catalogue)
        wanted += study_assets(study)
    if not wanted:
        raise HfpruneError("name the assets to fetch: KIND/NAME, or --study STUDY")
    fetch(list(dict.fromkeys(wanted)), catalogue, config.catalogue, config.resources)


def fetch(wanted: list[str], catalogue: Catalogue, where: Path, resources: Path) -> None:
    """Fetch assets into `resources`; assets that are already there are not fetched again.

    Args:
        wanted: `kind/name` of each; in place of a name, a file or a place on the hub.
        catalogue: says where each comes from.
        where: the catalogue's file, for messages.
        resources: each asset is written to `kind/name` below.

    Raises:
        HfpruneError: an asset that the catalogue lacks and that is no such place, or that cannot be fetched.
    """
    from hfprune.assets import resolving
    from hfprune.assets.fetching import KINDS

    known = {
        f"{kind}/{name}": (f"{kind}/{name}", (name, entry))
        for kind in KINDS
        for name, entry in getattr(catalogue, kind).items()
    }
    places = {}
    for asset in wanted:
        kind, _, spelling = asset.partition("/")
        found = known.get(asset) or (resolving.asset_of(kind, spelling) if kind in KINDS else None)
        if found is None:
            raise HfpruneError(f"{where}: no asset {asset!r}{nearest(asset, [*known])}")
        place, about = found
        places[place] = about
    resolving.fetch(places, resources)
