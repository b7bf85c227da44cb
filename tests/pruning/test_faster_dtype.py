"""The precision that `prune --dtype auto` takes: timed once, and the same when a call resumes."""

from pathlib import Path

import pytest
import torch
from smoke import save_model

from hfprune.cost import timed as timing
from hfprune.cost.timed import DTYPES, LEAST_WEIGHTS, mlp_seconds, step_seconds
from hfprune.devices import known
from hfprune.files import read_json, write_json
from hfprune.pruning import faster_dtype as choosing
from hfprune.pruning.faster_dtype import faster_dtype
from hfprune.pruning.sample import STEPS


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(known, "visible_devices", list)
    save_model("qwen2", tmp_path / "model")
    return tmp_path / "model"


def test_a_pass_of_an_mlp_like_the_models_own_is_timed_in_both(model: Path, monkeypatch) -> None:
    """A tiny model's would time how operations start, so that one of the same form stands for it."""
    monkeypatch.setattr(timing, "PATIENCE", 0.05)
    shapes, before = set(), torch.get_rng_state()
    measured = timing._pass_seconds
    monkeypatch.setattr(
        timing,
        "_pass_seconds",
        lambda *parts: (
            shapes.add((parts[0].dtype, parts[0].shape))
            or (measured(*parts) and sum(x.numel() for x in parts))
        ),
    )
    config = read_json(model / "config.json")
    own = config["intermediate_size"], config["hidden_size"]
    for least in (1, LEAST_WEIGHTS):
        shapes.clear()
        monkeypatch.setattr(timing, "LEAST_WEIGHTS", least)
        seconds = mlp_seconds(model)
        (widths,) = {shape for _, shape in shapes}
        times = widths[0] / own[0]
        assert shapes == {(getattr(torch, dtype), widths) for dtype in DTYPES} and widths[1] == times * own[1]
        assert (times - 1) ** 2 * 3 * own[0] * own[1] < least <= times**2 * 3 * own[0] * own[1]
        assert set(seconds.values()) == {3 * own[0] * own[1]}, (
            "as if the model's own took its share of the time"
        )
    assert torch.equal(torch.get_rng_state(), before), "what is drawn later is what would have been drawn"


def test_what_was_found_first_is_kept(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"float32": 1.3, "bfloat16": 1.0}
    monkeypatch.setattr(choosing, "mlp_seconds", lambda _: found)
    assert faster_dtype(model, tmp_path / "work") == "bfloat16"
    found = {"float32": 1.0, "bfloat16": 1.3}
    assert faster_dtype(model, tmp_path / "work") == "bfloat16", "on a machine that is now slower in it"
    assert faster_dtype(model, tmp_path / "other") == "float32"
    assert read_json(tmp_path / "other/dtype.json")["seconds"] == found


def test_a_step_of_decoding_is_timed_on_weights_that_no_cache_holds(model: Path, monkeypatch) -> None:
    """In both, for as many texts as the sample continues; what is timed stands for all MLPs of the model."""
    config, seen = read_json(model / "config.json"), set()
    width, hidden, layers = (config[key] for key in ("intermediate_size", "hidden_size", "num_hidden_layers"))
    taken = {(dtype, batch): 1 + n for n, (dtype, batch) in enumerate((d, b) for d in DTYPES for b in STEPS)}

    def timed(parts: list, batch: int) -> float:
        gate, up, down = parts[-1]
        assert gate.shape == up.shape == (width, hidden) == down.shape[::-1]
        dtype = str(gate.dtype).removeprefix("torch.")
        seen.add((dtype, batch, len(parts)))
        return len(parts) * taken[dtype, batch]

    plain = timing._step_seconds
    monkeypatch.setattr(timing, "LEAST_WEIGHTS", 1)
    monkeypatch.setattr(timing, "PATIENCE", 0.05)
    monkeypatch.setattr(timing, "_step_seconds", lambda *given: plain(*given) and timed(*given))
    for cache, held in ((2**28, [layers] * 2), (3 * hidden * width * 4, [1, 2])):
        seen.clear()
        monkeypatch.setattr(timing, "UNCACHED", cache)
        found = step_seconds(model, [*STEPS])
        counts = dict(zip(DTYPES, held, strict=True))
        assert seen == {(dtype, batch, counts[dtype]) for dtype, batch in taken}
        assert found == {dtype: {b: layers * taken[dtype, b] for b in STEPS} for dtype in DTYPES}


def test_decoding_has_a_precision_of_its_own(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(choosing, "mlp_seconds", lambda _: {"float32": 1.0, "bfloat16": 2.0})
    one, many = STEPS
    steps = {"float32": {one: 1.0, many: 1.0}, "bfloat16": {one: 2.0, many: 0.1}}
    monkeypatch.setattr(choosing, "step_seconds", lambda *_: steps)
    assert faster_dtype(model, tmp_path / "work") == "float32"
    assert faster_dtype(model, tmp_path / "work", decoding=True) == "bfloat16", "as all steps together take"
    assert faster_dtype(model, tmp_path / "work") == "float32", "each is remembered"
    write_json(tmp_path / "passes/dtype.json", {"dtype": "bfloat16"})
    for float32, expected in ((2.0, "bfloat16"), (1.0, "float32")):
        steps["float32"] = dict.fromkeys(STEPS, float32)
        steps["bfloat16"] = dict.fromkeys(STEPS, 2.1)
        assert faster_dtype(model, tmp_path / "passes", decoding=True) == expected, (
            "that of passes if it is as fast"
        )
        (tmp_path / "passes/dtype-decoding.json").unlink()
    steps["bfloat16"][one] = 100.0
    assert faster_dtype(model, tmp_path / "work", decoding=True) == "bfloat16"
    assert faster_dtype(model, tmp_path / "other", decoding=True) == "float32"


def test_a_gpu_is_not_timed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "visible_device", lambda: known.known_devices()["a100-80"])
    assert faster_dtype(model, tmp_path / "work") == "bfloat16"
    assert not (tmp_path / "work").exists()
