"""docs/parity.md is what `make parity` writes, and says that peers' own code gives our scores."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import authors
import pandas as pd
import pytest
import torch
from command_line import run
from smoke import ROOT


def read(page: str) -> tuple[list[pd.DataFrame], str]:
    sections = page.split("\n## ")
    tables = [[line for line in section.splitlines() if line.startswith("| ")] for section in sections]
    frames = [
        pd.read_csv(StringIO("\n".join(table)), sep=r"\s*\|\s*", engine="python").dropna(axis=1, how="all")
        for table in tables
        if table
    ]
    return frames, "\n".join(line for line in page.splitlines() if not line.startswith("|"))


@pytest.mark.thorough
def test_the_page_is_that_of_a_run(smollm2: Path, downloads: Path, tmp_path: Path) -> None:
    run("fetch", "corpora/c4-sample", "--resources", tmp_path)
    out = tmp_path / "parity.md"
    command = [sys.executable, ROOT / "benchmarks/parity.py", "--model", smollm2, "--out", out]
    subprocess.run([*command, "--corpus", tmp_path / "corpora/c4-sample"], cwd=tmp_path, check=True)
    (same, other), text = read(out.read_text())
    (same_there, other_there), text_there = read((ROOT / "docs/parity.md").read_text())
    assert text == text_there
    names = ["code", "what it calls", "ours"]
    assert len(same) == 9 and len(other) == 2
    for ours, there in ((same, same_there), (other, other_there)):
        assert ours[names].equals(there[names])
    for table in (same, same_there):  # rounding, which differs by machine
        assert table["median difference"].max() < 1e-5 and table["largest difference"].max() < 1e-2
        assert table["overlap"].min() > 0.998
    # What differs by more than rounding is the same everywhere.
    for column, tolerance in (("median difference", 0.3), ("largest difference", 0.3), ("overlap", 0.01)):
        pd.testing.assert_series_equal(other[column], other_there[column], rtol=tolerance)


def test_files_of_the_authors_read_the_given_blocks_and_lack_no_edit(tmp_path: Path) -> None:
    (file := tmp_path / "prune.py").write_text(
        "import torch\ndef get_importance_taylor(path, seed):\n  seq_len = 1024\n"
        "  model = AutoModelForCausalLM.from_pretrained(path).to(torch.bfloat16).cuda()\n"
        "  read, data = AutoTokenizer.from_pretrained(path), load_dataset('').shuffle(seed=seed)\n"
        "  return {'importance': [model.weight * read(x['text'])['input_ids'][seq_len - 1] for x in data]}\n"
    )
    given = torch.nn.Linear(1, 1), torch.arange(12).reshape(2, 6)
    assert authors.hfprune(file, {}, *given) == [given[0].weight * 5, given[0].weight * 11]
    with pytest.raises(ValueError, match="lacks"):
        authors.loaded(file, authors.CROSS_ENTROPY, *given)


def test_the_authors_own_scores_are_ours_where_only_rounding_differs() -> None:
    page = (ROOT / "benchmarks/authors.md").read_text().replace("In bfloat16", "## In bfloat16")
    table = read(page)[0][0].set_index("what it calls")
    same = table[table.index.str.contains("softmax|cross-entropy for|last positions")]
    assert len(same) == 3 and same["largest difference"].max() < 1e-5 and same["overlap"].min() > 0.9999
