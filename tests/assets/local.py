"""Assets from files of this machine, and the repository's catalogue."""

from pathlib import Path

from smoke import ROOT, local

from hfprune.assets.catalogue import Catalogue
from hfprune.assets.fetching import fetch_asset
from hfprune.settings import load


def shipped_catalogue() -> Catalogue:
    return load(Catalogue, ROOT / "config/assets.yaml")


def fetch_local(kind: str, name: str, path: Path, out: Path | None = None, **entry: object) -> Path:
    catalogue = Catalogue.model_validate({kind: {name: entry | {"source": local(path)}}})
    out = out or path.parent / "out"
    fetch_asset(kind, name, getattr(catalogue, kind)[name], out, out.parent / "downloads")
    return out
