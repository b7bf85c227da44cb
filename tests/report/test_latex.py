"""Every table that is written compiles under pdfLaTeX."""

import shutil
import subprocess
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from committed import committed
from synthetic import PAPER, Study, analysed, gather

from hfprune.report.table_files import write_tables
from hfprune.report.typeset import Column, Table, latex, tex
from hfprune.study.method import Method

pytestmark = pytest.mark.thorough

LABEL = "Größe α, 50 % & #1 → x_2 ~ ^ <3> “β”"
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,adjustbox}
\begin{document}
%s
\end{document}
"""


def has_latex() -> bool:
    packages = ["booktabs.sty", "adjustbox.sty"]
    return bool(
        shutil.which("pdflatex")
        and subprocess.run(["kpsewhich", *packages], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return every LaTeX file of git, and those of a study with a name that is hard to print."""
    folder = tmp_path_factory.mktemp("study")
    study = Study(folder, ratios=[0.2], draws=[0, 1, 2], methods=["entropy", "cross_entropy"]).write()
    settings = study.config()
    settings.methods["cross_entropy"] = Method(label=LABEL)
    for method, draw in product(study.methods, study.draws):
        study.outcomes(method, 0.2, "perplexity", [3.0 + 0.1 * draw, 4.0], metric="nll", draw=draw)
    analysed(gather(settings, folder))
    write_tables(folder, PAPER, folder / "tables")
    return [*sorted(folder.rglob("*.tex")), *sorted((committed() / "results").glob("*/**/*.tex"))]


def test_no_character_is_unknown_to_pdflatex(written: list[Path]) -> None:
    assert len(written) > 20
    for path in written:
        # Without another package pdfLaTeX knows ASCII and the accented letters of these two blocks.
        unknown = {sign for sign in path.read_text() if ord(sign) > 0x17F or 0x7F <= ord(sign) < 0xC0}
        assert not unknown, path
    assert any(tex(LABEL) in path.read_text() for path in written)


def test_minus_signs_are_no_hyphens() -> None:
    assert tex("-0.012 [-0.021, +0.003], LLaMA-2-7B, top-15") == (
        "$-$0.012 [$-$0.021, +0.003], LLaMA-2-7B, top-15"
    )


@pytest.mark.skipif(not has_latex(), reason="no pdflatex with booktabs and adjustbox")
def test_every_table_compiles_and_fits_however_long_it_is(written: list[Path], tmp_path: Path) -> None:
    numbers = pd.DataFrame({"method": range(133)})
    long = latex(Table(numbers, [Column("Method", [*map(str, range(133))])], [], groups=(), section=""), "x")
    assert long.count(r"\begin{table*}") == 4
    texts = [rf"\input{{{path}}}" for path in written] + [long]
    # Not more at once than LaTeX keeps floats for.
    (tmp_path / "all.tex").write_text(DOCUMENT % "\n\\clearpage\n".join(texts))
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 50_000
    log = (tmp_path / "all.log").read_text(errors="replace").splitlines()
    complaints = [line for line in log if line.startswith("Overfull") or "Float" in line or "floats" in line]
    assert complaints == [], "boxes that do not fit, and floats that are too large or lost"


def test_no_row_is_lost_between_floats() -> None:
    numbers = pd.DataFrame({"model": ["a"] * 50 + ["b"] * 50})
    columns = [Column("Row", [f"row{i}." for i in range(100)]), Column("Why", ["!"] * 100, prose=True)]
    text = latex(Table(numbers, columns, [], groups=("model",)), "x")
    assert [text.count(f"row{i}.") for i in range(100)] == [1] * 100
    assert "!" not in text
    first, second, third = text.split(r"\begin{table*}")[1:]
    assert [part.count(r"\textit{a}") for part in (first, second, third)] == [1, 1, 0]
    assert "continued" in second and r"\label" not in second
