"""What the benchmarks compare is the same work: both sides give the same numbers."""

import json
from pathlib import Path

import cells
import numpy as np
import torch
from conftest import build_tiny
from smoke import build_tokenizer

from hfprune.assets.text import Text
from hfprune.plans.planning import make_plan


def test_a_cell_measured_by_one_subject_and_in_the_plain_way(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    model = build_tiny("llama", vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path / "model")
    words = [f"The {a} of the {b} is {c}." for a in "abcde" for b in "fghij" for c in "klmno"]
    texts = [" ".join(words[start:] + words[:start]) for start in (0, 30, 60, 90)]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    text = Text(corpus=str(tmp_path / "text.jsonl"), sequences=3, length=40)
    plans = [make_plan(model, {f"mlp.{at}": torch.rand(48) for at in range(3)}, 0.2) for _ in range(3)]
    cell = cells.Pruned(tmp_path / "model", tmp_path, text, plans)
    ours, reference = cells.ours(cell), cells.reference(cell)
    assert ours.shape == (3, 3, 4), "plans, blocks, and three distances with the loss"
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)
    assert abs(ours[0] - ours[1]).max() > 10 * cells.TOLERANCE, "of other plans they differ"
