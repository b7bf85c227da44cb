from pathlib import Path

import pandas as pd
import pytest

import hfprune.cells
from hfprune.cells import Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file, remove_unfinished, require_only, write_json


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "it.json", {"mean": float("nan")})


def test_only_what_a_killed_run_has_left_of_the_same_file_is_removed(tmp_path: Path) -> None:
    names = {"linear.safetensors", "recovery.json"}
    others = [".notes.markdown", ".linear.old", ".linear.yesterday.safetensors"]
    for name in others:
        (tmp_path / name).write_text("mine")
    with atomic_file(tmp_path / "linear.safetensors") as temporary:
        with pytest.raises(HfpruneError, match="holds something else"):
            require_only(tmp_path, {*names, *others})
        remove_unfinished(tmp_path, names)
        assert not temporary.exists()
        assert {path.name for path in tmp_path.iterdir()} == {*others}
        require_only(tmp_path, {*names, *others})
        temporary.touch()
    with pytest.raises(HfpruneError, match="a folder of its own"):
        require_only(Path(), {"linear.safetensors"})


def test_items_of_a_killed_run_are_not_taken_for_those_of_the_result_before(
    tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "it.json"

    def write(number: float) -> None:
        items = pd.DataFrame({"item": [0], "number": [number]})
        cell = Cell("s", "m", "a", "text", 4, 0.2, 0, Recovery.NONE)
        write_result(path, cell, "it", "", [Value("number", number)], {}, items)

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    write(1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(hfprune.cells, "write_json", killed)
        write(2)
    assert pd.read_parquet(path.with_suffix(".parquet"))["number"].item() == 2
    assert not path.exists(), "the record of other items"
