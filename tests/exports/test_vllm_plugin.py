"""What vLLM asks of the plug-in before it starts; `make test-engines` runs it in vLLM, by engines/on_vllm.py."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from families import WIDTHS, build, cut
from smoke import ROOT
from transformers import AutoConfig

from hfprune.exports.checkpoint import export
from hfprune.exports.vllm_plugin import register, require_divisible


def test_the_entry_point_leads_to_it() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    ((name, value),) = points["vllm.general_plugins"].items()
    assert EntryPoint(name, value, "vllm.general_plugins").load() is register


@pytest.mark.parametrize(
    ("widths", "align", "groups", "refusal"),
    [
        (WIDTHS["unequal"], 1, (), r"layer 1 has 17 neurons, .* size 2 .*`hfprune export --align 2`$"),
        ([17, 17, 17], 1, (), "layer 0 has 17 neurons"),
        (WIDTHS["unequal"], 2, (), ""),
        (WIDTHS["unequal"], 2, (2, 1, 2), ""),
    ],
    ids=["unequal", "equal", "padded", "a group for both"],
)
def test_what_two_processes_cannot_share_is_refused(
    widths: list[int], align: int, groups, refusal: str, tokenizer: Path, tmp_path: Path
) -> None:
    export(cut(build("llama3"), widths, groups), tokenizer, tmp_path / "out", align=align)
    config = AutoConfig.from_pretrained(tmp_path / "out")
    require_divisible(config, 1)
    if refusal:
        with pytest.raises(ValueError, match=refusal):
            require_divisible(config, 2)
    else:
        require_divisible(config, 2)


def test_heads_that_three_processes_cannot_share_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    export(cut(build("llama3"), [24, 27, 24], [2, 1, 2]), tokenizer, tmp_path / "out", align=3)
    config = AutoConfig.from_pretrained(tmp_path / "out")
    with pytest.raises(ValueError, match="layer 0 has 4 heads in 2 groups, which the tensor parallel size 3"):
        require_divisible(config, 3)
