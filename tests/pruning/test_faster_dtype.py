"""The precision that `prune --dtype auto` takes: timed once, and the same when a call resumes."""

from pathlib import Path

import pytest
import torch
from smoke import save_model

from hfprune.devices import known
from hfprune.files import read_json
from hfprune.pruning import faster_dtype as timing
from hfprune.pruning.faster_dtype import DTYPES, faster_dtype, mlp_seconds


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(known, "visible_devices", list)
    save_model("qwen2", tmp_path / "model")
    return tmp_path / "model"


def test_a_pass_of_the_models_own_mlp_is_timed_in_both(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "PATIENCE", 0.05)
    shapes, before = set(), torch.get_rng_state()
    measured = timing._pass_seconds
    monkeypatch.setattr(
        timing,
        "_pass_seconds",
        lambda *parts: shapes.add((parts[0].dtype, parts[0].shape)) or measured(*parts),
    )
    seconds = mlp_seconds(model)
    config = read_json(model / "config.json")
    width = (config["intermediate_size"], config["hidden_size"])
    assert shapes == {(getattr(torch, dtype), width) for dtype in DTYPES}
    assert all(0 < taken < 10 for taken in seconds.values())
    assert torch.equal(torch.get_rng_state(), before), "what is drawn later is what would have been drawn"


def test_what_was_found_first_is_kept(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"float32": 1.3, "bfloat16": 1.0}
    monkeypatch.setattr(timing, "mlp_seconds", lambda _: found)
    assert faster_dtype(model, tmp_path / "work") == "bfloat16"
    found = {"float32": 1.0, "bfloat16": 1.3}
    assert faster_dtype(model, tmp_path / "work") == "bfloat16", "on a machine that is now slower in it"
    assert faster_dtype(model, tmp_path / "other") == "float32"
    assert read_json(tmp_path / "other/dtype.json")["seconds"] == found


def test_a_gpu_is_not_timed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "visible_device", lambda: known.known_devices()["a100-80"])
    assert faster_dtype(model, tmp_path / "work") == "bfloat16"
    assert not (tmp_path / "work").exists()
