"""Files of the repository that its commands read: the catalogue, the studies and the paper's numbers."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A wheel has `config` and `paper` in the package (see `pyproject.toml`), a checkout beside it.
_HOME = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent


def shipped(path: Path) -> Path:
    """Return a file or folder such as `config/assets.yaml`: that of the working folder, or else the package's.

    Any other path, and one that neither has, is returned as it is.
    """
    mine = path.parts[:1] in (("config",), ("paper",)) and not path.exists() and (_HOME / path).exists()
    return _HOME / path if mine else path
