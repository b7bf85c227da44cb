"""From a spelling to the folder of a fetched asset: a name of the catalogue, a folder, a file or a hub id."""

import re
from pathlib import Path

from hfprune.assets.catalogue import Asset, Catalogue, HubSource, LmEvalSource, LocalSource
from hfprune.assets.fetching import fetch_assets
from hfprune.assets.formats import is_fetched, is_whole
from hfprune.assets.places import CATALOGUE, is_shared, resources_folder
from hfprune.assets.shipped import shipped
from hfprune.assets.spelling import FORMS, entry
from hfprune.errors import HfpruneError, nearest
from hfprune.files import sha256
from hfprune.settings import load


def resolve(
    kind: str, spelling: str | Path, resources: Path | None = None, catalogue: Path = CATALOGUE
) -> Path:
    """Return the folder of an asset, which is fetched first unless it is there.

    A file is identified by its contents, and a hub repository by the commit of its first fetch, so either is
    fetched once into `resources`. An asset of the catalogue that is there is used as it is, since jobs that run
    at the same time read it; the workflow and `hfprune fetch` notice an edited entry.

    Args:
        kind: models, corpora, tasks, instructions or requests.
        spelling: a folder that holds such an asset, a name of the catalogue, a file, or a name on the hub; see
            `hfprune.assets.spelling.FORMS`.
        resources: folder of the fetched assets; by default `resources_folder`.
        catalogue: file of the catalogue; the package's own where there is no such file.

    Raises:
        HfpruneError: the spelling is none of these, with all that was tried; or the asset cannot be fetched.
    """
    form, word, catalogue = FORMS[kind], str(spelling), shipped(catalogue)
    resources = resources or resources_folder(catalogue)
    path, there = Path(word).expanduser(), resources / kind / word
    if (path / form.marker).is_file():
        return path
    if not is_shared(resources) and (there / form.marker).is_file():
        return there
    entries = getattr(load(Catalogue, catalogue), kind) if catalogue.is_file() else {}
    if word in entries:
        if not is_fetched(there, entries[word]):
            fetch_assets({f"{kind}/{word}": (word, entries[word])}, resources)
        return there
    if not path.exists() and (path.is_absolute() or word.startswith(".")):
        raise HfpruneError(
            f"no {form.word} {word!r}: no such file or folder{nearest(path.name, [*entries], '')}"
        )
    names = f"a name in {catalogue}" + (nearest(path.name, [*entries]) if entries else "")
    spelt = asset_of(kind, word)
    if spelt is None:
        tried = f"not {form.ways()}, and not {names}"
        raise HfpruneError(f"no {form.word} {word!r}: {tried.replace('; known:', ', which are')}")
    place, about = spelt
    if not is_whole(resources / place):
        try:
            fetch_assets({place: about}, resources)
        except HfpruneError as error:
            if isinstance(about[1].source, LocalSource):
                raise
            tried = f"no folder or file, not in {catalogue}; on the hub: {error}"
            raise HfpruneError(f"no {form.word} {word!r}: {tried}") from error
    return resources / place


def is_there(asset: str, catalogue: Catalogue, resources: Path) -> bool:
    """Tell whether an asset `kind/name` of the catalogue is fetched, by the rules of `resolve`."""
    kind, _, name = asset.partition("/")
    entries = getattr(catalogue, kind)
    if is_shared(resources) and name in entries:
        return is_fetched(resources / asset, entries[name])
    return (resources / asset / "asset.json").is_file()


def asset_of(kind: str, spelling: str) -> tuple[str, tuple[str, Asset]] | None:
    """Return the path below the resources, the name and the entry of an asset outside the catalogue.

    Returns `None` if the spelling is neither a file nor a name on the hub.
    """
    spelt = entry(kind, spelling)
    if spelt is None:
        return None
    asset: Asset = getattr(Catalogue.model_validate({kind: {"it": spelt}}), kind)["it"]
    source = asset.source
    if isinstance(source, LocalSource):
        if source.path.is_dir():
            return None
        name = re.sub(r"[^A-Za-z0-9._-]|^[._-]+", "_", source.path.name.partition(".")[0] or kind)
        return f"{kind}/{name}-{sha256(source.path)[:12]}", (name, asset)
    if isinstance(source, LmEvalSource):
        return f"{kind}/{spelling}", (spelling, asset)
    assert isinstance(source, HubSource)
    return f"{kind}/{spelling.replace('/', '--').replace('@', '--')}", (spelling, asset)
