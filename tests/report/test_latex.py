"""Every table that is written compiles under pdfLaTeX."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from committed import committed
from synthetic import PAPER, Study, analysed, gather

from hfprune.report.typeset import Column, Table, latex, tex
from hfprune.report.writing import write_tables
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
    study = Study(folder, ratios=[0.2], seeds=[0, 1, 2], methods=["entropy", "cross_entropy"]).write()
    settings = study.config()
    settings.methods["cross_entropy"] = Method(label=LABEL)
    for method in study.methods:
        for seed in study.seeds:
            study.outcomes(method, 0.2, "perplexity", [3.0 + 0.1 * seed, 4.0], metric="nll", seed=seed)
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


def compiled(text: str, folder: Path) -> subprocess.CompletedProcess:
    (folder / "all.tex").write_text(DOCUMENT % text)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False)


@pytest.mark.skipif(not has_latex(), reason="no pdflatex with booktabs and adjustbox")
def test_every_table_compiles_and_fits(written: list[Path], tmp_path: Path) -> None:
    # Not more at once than LaTeX keeps floats for.
    run = compiled("\n\\clearpage\n".join(rf"\input{{{path}}}" for path in written), tmp_path)
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 50_000
    assert complaints(tmp_path) == []

    table = Table(pd.DataFrame({"method": [0]}), [Column("Method", ["☃"])], [], groups=(), section="")
    broken = latex(table, "x")
    assert compiled(broken, tmp_path).returncode != 0, "else an unknown character would go unseen"


def complaints(folder: Path) -> list[str]:
    """Return what LaTeX says of boxes that do not fit, and of floats that are too large or lost."""
    log = (folder / "all.log").read_text(errors="replace").splitlines()
    return [line for line in log if line.startswith("Overfull") or "Float" in line or "floats" in line]


@pytest.mark.skipif(not has_latex(), reason="no pdflatex with booktabs and adjustbox")
def test_a_table_that_is_too_long_or_too_wide_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = pd.DataFrame({"method": range(133)})
    long = Table(numbers, [Column("Method", [*map(str, range(133))])], [], groups=(), section="")
    assert latex(long, "x").count(r"\begin{table*}") == 4
    assert compiled(latex(long, "x"), tmp_path).returncode == 0
    assert complaints(tmp_path) == []
    monkeypatch.setattr("hfprune.report.typeset.MOST_ROWS", 200)
    compiled(latex(long, "x"), tmp_path)
    assert "Float too large" in " ".join(complaints(tmp_path))
    compiled("x" * 200, tmp_path)
    assert complaints(tmp_path)[0].startswith("Overfull")


def test_no_row_is_lost_between_floats() -> None:
    numbers = pd.DataFrame({"model": ["a"] * 50 + ["b"] * 50})
    columns = [Column("Row", [f"row{i}." for i in range(100)]), Column("Why", ["!"] * 100, prose=True)]
    text = latex(Table(numbers, columns, [], groups=("model",)), "x")
    assert [text.count(f"row{i}.") for i in range(100)] == [1] * 100
    assert "!" not in text
    first, second, third = text.split(r"\begin{table*}")[1:]
    assert [part.count(r"\textit{a}") for part in (first, second, third)] == [1, 1, 0]
    assert "continued" in second and r"\label" not in second
