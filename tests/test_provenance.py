"""What identifies a file that a run makes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hfprune.files import sha256
from hfprune.provenance import fingerprint, is_recorded, metadata, origin, save_tensors, stable


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Files of two roles: a criterion's code and calibration blocks."""
    files = {"criterion": tmp_path / "random.py", "blocks": tmp_path / "blocks.safetensors"}
    for file in files.values():
        file.write_text("first")
    return files


def scores_hash(folder: Path, inputs: dict[str, Path]) -> str:
    """Return the hash of a file of scores made from these inputs."""
    save_tensors(folder / "scores.safetensors", {"a": torch.ones(2)}, stable(origin(inputs, {"version": 1})))
    return sha256(folder / "scores.safetensors")


def test_an_edited_comment_of_a_criterion_leaves_the_hash_of_its_scores(tmp_path, inputs) -> None:
    before = scores_hash(tmp_path, inputs)
    inputs["criterion"].write_text("second")
    assert scores_hash(tmp_path, inputs) == before
    assert is_recorded(tmp_path / "scores.safetensors", inputs, {"version": 1})


def test_other_blocks_change_the_hash_of_scores(tmp_path, inputs) -> None:
    before = scores_hash(tmp_path, inputs)
    inputs["blocks"].write_text("second")
    assert scores_hash(tmp_path, inputs) != before
    inputs["blocks"].write_text("third")
    assert not is_recorded(tmp_path / "scores.safetensors", inputs, {"version": 1})


def test_several_keys_of_metadata_give_the_same_bytes_at_every_save(tmp_path) -> None:
    path, about = tmp_path / "linear.safetensors", {name: f'"ä" {name}' for name in "abcdefgh"}
    hashes = set()
    for _ in range(5):
        save_tensors(path, {"a": torch.ones(3), "b": torch.zeros(2, dtype=torch.bfloat16)}, None, **about)
        hashes.add(sha256(path))
    assert len(hashes) == 1
    assert metadata(path) == about
    assert load_file(path)["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("role", ["criterion", "blocks"])
def test_a_killed_run_is_resumed_only_with_the_same_code_and_inputs(inputs, role: str) -> None:
    before = fingerprint(inputs, {"version": 1})
    assert fingerprint(inputs, {"version": 1}) == before
    inputs[role].write_text("second")
    assert fingerprint(inputs, {"version": 1}) != before
