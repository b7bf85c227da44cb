"""A finished table as CSV, Markdown and LaTeX."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hfprune.files import atomic_file

MISSING = "–"
# Columns of words, which are flush left.
LEFT = {
    "Model",
    "Recovery",
    "Ratio",
    "Method",
    "Source",
    "Claim",
    "Kind",
    "Metric",
    "Verdict",
    "Note",
    "Differs in",
    "Criterion",
    "Units",
    "Corpus",
    "Allocation",
    "Reference",
    "Outcome",
    "Front, JS",
    "Front, bits/byte",
}


@dataclass(frozen=True)
class Table:
    """A finished table: numbers for machines, strings for readers (the best as `**1.0**`), and notes.

    `groups` numbers the group of each row; LaTeX draws a rule between groups. `sections` names the section of each
    row; a section is a separate table in Markdown, and has a line across the table in LaTeX.
    """

    caption: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    groups: pd.Series
    notes: list[str]
    sections: pd.Series | None = None


def csv(table: Table) -> str:
    """Return the bare numbers as CSV."""
    return table.numbers.to_csv(index=False, float_format="%.8g", lineterminator="\n")


def markdown(table: Table) -> str:
    """Return a table as Markdown: caption, one table per section, notes."""
    widths = [max(map(len, [name, *table.shown[name]])) for name in table.shown]
    if table.shown.columns[-1] in LEFT:
        widths[-1] = 3  # A last column of long words needs no padding.
    parts = []
    for section, rows in _sections(table):
        parts += [f"**{section}**"] if section else []
        parts.append(_markdown_rows(rows, widths))
    notes = "\n".join(f"- {note}" for note in table.notes)
    return "\n\n".join([table.caption, *parts, notes]) + "\n"


def _sections(table: Table) -> Iterable[tuple[str, pd.DataFrame]]:
    """Yield name and rows of each section; a table without sections or rows is one section without a name."""
    if table.sections is None or table.shown.empty:
        return [("", table.shown)]
    return table.shown.groupby(table.sections, sort=False)


def _markdown_rows(rows: pd.DataFrame, widths: list[int]) -> str:
    left = [name in LEFT for name in rows]
    rule = [
        ":" + "-" * (w - 1) if words else "-" * (w - 1) + ":" for w, words in zip(widths, left, strict=True)
    ]
    lines = [
        [cell.ljust(w) if words else cell.rjust(w) for cell, w, words in zip(line, widths, left, strict=True)]
        for line in ([*rows], *rows.to_numpy().tolist())
    ]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latex(table: Table, name: str) -> str:
    """Return a table as LaTeX, labelled `tab:<name>`, shrunk to the page only if it is wider."""
    alignment = "".join("l" if column in LEFT else "r" for column in table.shown)
    lines = [
        r"% \usepackage{booktabs,adjustbox}",
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{tex(table.caption)}}}",
        rf"\label{{tab:{name}}}",
        r"\begin{adjustbox}{max width=\linewidth}",
        rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
        r"\toprule",
        " & ".join(map(tex, table.shown)) + r" \\",
        r"\midrule",
        *_latex_rows(table),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\par\smallskip",
        rf"\parbox{{\linewidth}}{{{tex(' '.join(table.notes))}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_rows(table: Table) -> list[str]:
    rows: list[str] = []
    for section, part in _sections(table):
        rows += [r"\midrule"] if rows else []
        if section:
            rows += [
                rf"\multicolumn{{{part.shape[1]}}}{{@{{}}l}}{{\textit{{{tex(section)}}}}} \\",
                r"\midrule",
            ]
        lines = [" & ".join(map(tex, row)) + r" \\" for row in part.to_numpy().tolist()]
        # A section begins without its own rule; the one above is enough.
        for i in reversed(np.flatnonzero(table.groups[part.index].diff() > 0)):
            lines.insert(i, r"\midrule")
        rows += lines
    return rows


def write_table(out: Path, name: str, table: Table) -> None:
    """Write a table as `<out>/<name>.csv`, `.md` and `.tex`; see `write_texts`."""
    write_texts(out, name, {"csv": csv(table), "md": markdown(table), "tex": latex(table, name)})


def write_texts(out: Path, name: str, texts: dict[str, str]) -> None:
    """Write each text, given by its suffix, atomically as `<out>/<name>.<suffix>`."""
    for suffix, text in texts.items():
        with atomic_file(out / f"{name}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def mark(index: int) -> str:
    """Return the mark of a footnote: ᵃ, ᵇ, …, ʷ, ᵃᵃ, …"""
    return _MARKS[index % len(_MARKS)] * (index // len(_MARKS) + 1)


def tex(text: str) -> str:
    """Return a text as LaTeX: reserved characters escaped, Markdown's bold and minus signs as LaTeX's.

    pdfLaTeX knows the characters of Western and Central European languages; others are set by name.
    """
    text = re.sub(r"(?<![\w)])-(?=\d)", "−", text)
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text.translate(_TEX))


_MARKS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷ"
# Characters that pdfLaTeX does not know, each with its command in mathematics.
_COMMANDS = """
±pm ×times ·cdot ≥geq ≤leq ≠neq ≈approx ∂partial →to ←gets ∞infty ‖Vert
ΓGamma ΔDelta ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΦPhi ΨPsi ΩOmega
αalpha βbeta γgamma δdelta εvarepsilon ζzeta ηeta θtheta ιiota κkappa λlambda μmu νnu ξxi πpi ρrho σsigma τtau
υupsilon φvarphi χchi ψpsi ωomega
"""
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"–": "--", "—": "---", "−": "$-$", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\ldots{}"}
    | {"\N{NO-BREAK SPACE}": "~", "<": "$<$", ">": "$>$", "|": "$|$"}
    | {pair[0]: rf"$\{pair[1:]}$" for pair in _COMMANDS.split()}
    | {digit: f"$^{i}$" for i, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
    | {digit: f"$_{i}$" for i, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")}
    | {
        superscript: rf"\textsuperscript{{{letter}}}"
        for superscript, letter in zip(_MARKS, "abcdefghijklmnoprstuvw", strict=True)
    }
)
