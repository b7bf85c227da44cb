import json
from pathlib import Path

import pytest

from hfprune.files import write_json


def test_keys_of_two_types_are_sorted_as_json_spells_them(tmp_path: Path) -> None:
    """accelerate's map of devices has numbers of GPUs, and "cpu"."""
    write_json(tmp_path / "it.json", {"max_memory": {"cpu": 2, 1: "8GB", 0: 1.5}})
    found = json.loads((tmp_path / "it.json").read_text())
    assert [*found["max_memory"].items()] == [("0", 1.5), ("1", "8GB"), ("cpu", 2)]
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "it.json", {"mean": float("nan")})
