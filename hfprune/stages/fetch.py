"""Download, check and convert models, corpora, tasks and other assets into the resources folder."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_serializer

from hfprune.assets.catalogue import Asset, Catalogue, JoinedSource, LocalSource
from hfprune.assets.places import resources_of
from hfprune.errors import HfpruneError, nearest
from hfprune.settings import load
from hfprune.stages import Positional, Stage, Unflagged
from hfprune.stages.fields import CatalogueFile, Resources, StudyPath
from hfprune.study.references import load_study, study_assets


class Fetch(Stage):
    """Assets, in the resources folder."""

    example: ClassVar = "hfprune fetch --study config/studies/demo.yaml"

    assets: Annotated[list[str], Positional("KIND/NAME")] = Field(
        default=[],
        description="e.g. models/smollm2-135m-instruct-q4, tasks/piqa; also a file or a place on the hub, as "
        "models/OWNER/NAME[@REVISION][/FILE.gguf], models/my/model.gguf, corpora/my/text.jsonl",
    )
    entries: Annotated[Catalogue, Unflagged()] = Field(
        default=Catalogue(), description="instead of names: assets with their catalogue entries"
    )
    study: StudyPath | None = Field(default=None, description="fetch everything that this study needs")
    catalogue: CatalogueFile = Path("config/assets.yaml")
    resources: Resources = Field(default_factory=resources_of)

    @field_serializer("entries")
    def _entries_whole(self, entries: Catalogue) -> dict[str, object]:
        whole: dict[str, dict[str, Any]] = entries.model_dump(mode="json")
        for kind, named in entries:
            for name, entry in named.items():
                if isinstance(entry.source, JoinedSource):
                    whole[kind][name]["source"]["repo"] = entry.source.repo
        return {kind: named for kind, named in whole.items() if named}

    def _entries(self) -> dict[str, Asset]:
        return {f"{kind}/{name}": entry for kind, named in self.entries for name, entry in named.items()}

    def named_inputs(self) -> dict[str, list[Path]]:
        """Return the local files that the entries name, so that an edited file is read again."""
        sources = [entry.source for entry in self._entries().values()]
        paths = [source.path for source in sources if isinstance(source, LocalSource)]
        files = [file for path in paths for file in sorted(path.glob("*")) or [path] if file.exists()]
        return {"entries": files}

    def outputs(self) -> list[Path]:
        """Return the records of all assets that are given by their entries."""
        return [self.resources / asset / "asset.json" for asset in self._entries()]

    def about(self) -> str:
        """Return the assets."""
        return ", ".join(self._entries())

    def run(self) -> None:
        """Fetch the named assets, and those that the study needs."""
        given = self._entries()
        if given:
            catalogue, wanted = self.entries, [*given]
        else:
            catalogue, wanted = load(Catalogue, self.catalogue), [*self.assets]
        if self.study:
            study, catalogue = load_study(self.study, catalogue)
            wanted += study_assets(study)
        if not wanted:
            raise HfpruneError("name the assets to fetch: KIND/NAME, or --study STUDY")
        fetch(list(dict.fromkeys(wanted)), catalogue, self.catalogue, self.resources)


def fetch(wanted: list[str], catalogue: Catalogue, where: Path, resources: Path) -> None:
    """Fetch assets, `kind/name` or `kind/` and a file or a place on the hub, to `kind/name` below `resources`.

    Fetched assets are not fetched again. Messages name the catalogue's file, `where`.

    Raises:
        HfpruneError: an asset is neither in the catalogue nor a file nor on the hub, or cannot be fetched.
    """
    from hfprune.assets.fetching import KINDS, fetch_assets
    from hfprune.assets.resolving import asset_of

    entries = {
        f"{kind}/{name}": (f"{kind}/{name}", (name, entry))
        for kind in KINDS
        for name, entry in getattr(catalogue, kind).items()
    }
    places = {}
    for asset in wanted:
        kind, _, spelling = asset.partition("/")
        entry = entries.get(asset) or (asset_of(kind, spelling) if kind in KINDS else None)
        if entry is None:
            raise HfpruneError(f"{where}: no asset {asset!r}{nearest(asset, [*entries])}")
        place, about = entry
        places[place] = about
    fetch_assets(places, resources)
