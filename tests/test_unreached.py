"""Tests read what git holds of the studies, so that no run that has written into the checkout can fail them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from smoke import ROOT

OTHERS = sorted({*(ROOT / "tests").rglob("test_*.py")} - {Path(__file__)})


def test_no_test_names_the_checkouts_results() -> None:
    joined = re.compile(r"""(ROOT|parents\[\d\]) / f?["'](results|figures)""")
    for name, quote in (("results", '"'), ("figures", "'")):
        assert joined.search(f"ROOT / {quote}{name}/demo{quote}")
    assert not [file.name for file in OTHERS if joined.search(file.read_text(encoding="utf-8"))]


@pytest.mark.thorough
def test_nonsense_in_results_and_figures_fails_none_that_reads_committed_ones(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    written = [
        file for name in ("results", "figures") for file in (clone / name).rglob("*") if file.is_file()
    ]
    for file in written:
        file.write_text("nonsense\n")
    readers = [file.relative_to(ROOT) for file in OTHERS if "from committed import" in file.read_text()]
    assert len(written) > 100 and len(readers) > 5
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *map(str, readers)]
    subprocess.run(command, cwd=clone, env=os.environ | {"PYTHONPATH": str(clone)}, check=True)
