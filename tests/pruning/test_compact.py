"""`hfprune prune` of layers that come to differ in width: what the page and the card say of the export."""

import re
from contextlib import chdir
from html import unescape
from pathlib import Path

import pytest
import torch
from command_line import run

import hfprune
from hfprune.files import read_json
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.plans.planning import load_plan


@pytest.mark.parametrize("form", ["", "--plain"])
def test_page_and_card_load_what_the_plan_says(call: str, project: Path, tmp_path: Path, form: str) -> None:
    """The code of both loads the export; the table has the size of the files."""
    run(f"{call} --allocation global --quick {form} --out {tmp_path}/out")
    (plan,) = (tmp_path / "out/work/plans").rglob("*.safetensors")
    dense = hfprune.load(project / "models/mine")
    total = count_parameters(dense)
    hfprune.apply_plan(dense, load_plan(plan))
    widths = [mlp.count for mlp in gated_mlps(dense)]
    assert len({*widths}) > 1

    page = (tmp_path / "out/report.html").read_text()
    card = (tmp_path / "out/model/README.md").read_text()
    (on_page,) = re.findall(r'<pre [^>]*aria-label="Python code">(.*?)</pre>', page, re.DOTALL)
    (on_card,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    tokens = torch.arange(20).unsqueeze(0)
    for code in (unescape(on_page), on_card.replace("THIS_FOLDER", "model")):
        names: dict = {}
        with chdir(tmp_path / "out"):
            exec(code, names)
        model = names["model"].to("cpu")
        torch.testing.assert_close(model(tokens).logits, dense(tokens).logits, rtol=0, atol=1e-5)
        assert [mlp.count for mlp in gated_mlps(model)] == ([max(widths)] * len(widths) if form else widths)
        assert names["tokenizer"]("a b").input_ids

    written = read_json(tmp_path / "out/model/provenance.json")
    assert written["parameters"] == count_parameters(dense) < total
    assert (written["parameters_on_disk"] == written["parameters"]) == (not form)
    (row,) = re.findall(r"^\| file size.*", card, re.MULTILINE)
    sizes = [
        file.stat().st_size
        for folder in (project / "models/mine", tmp_path / "out/model")
        for file in folder.glob("*.safetensors")
    ]
    assert f"{sizes[1] / sizes[0] - 1:.1%}".replace("%", " %").replace("-", "−") in row
