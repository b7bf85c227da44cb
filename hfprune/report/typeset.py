"""A finished table as CSV, Markdown and LaTeX."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import pandas as pd

from hfprune.files import atomic_file

MISSING = "–"
# Rows of a LaTeX float that fits on a page with its caption and notes; letters from which a cell is wrapped.
MOST_ROWS, MOST_LETTERS = 36, 45


@dataclass(frozen=True)
class Column:
    """A column for readers: its heading, a text for each row, and whether these are words, set flush left.

    A column of `prose` has no room on paper, so LaTeX leaves it out.
    """

    heading: str
    cells: Sequence[str]
    words: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Table:
    """A finished table: numbers for machines, columns for readers (the best as `**1.0**`), and notes.

    Rows that differ in the columns `groups` of the numbers are in different groups; LaTeX draws a rule between
    groups. The column `section` names the section of each row; a section is a separate table in Markdown, and has
    a line across the table in LaTeX. `more` are the tables that follow in the same file, by their labels' ends.
    """

    numbers: pd.DataFrame
    columns: Sequence[Column]
    notes: Sequence[str]
    groups: Sequence[str] = ("model", "ratio")
    section: str = "model"
    caption: str = ""
    more: Mapping[str, "Table"] = field(default_factory=dict)


def markdown(table: Table) -> str:
    """Return a table as Markdown: caption, a table for each section, notes, and the tables that follow."""
    widths = [max(map(len, [column.heading, *column.cells])) for column in table.columns]
    if table.columns[-1].words:
        widths[-1] = 3  # A last column of long words needs no padding.
    parts = [table.caption]
    for section, rows in _sections(table):
        parts += [f"**{section}**"] if section else []
        parts.append(_markdown_rows(table.columns, widths, rows))
    parts.append("\n".join(f"- {note}" for note in table.notes))
    return "\n\n".join(["\n\n".join(parts) + "\n", *map(markdown, table.more.values())])


def _sections(table: Table) -> Iterator[tuple[str, list[int]]]:
    rows = [*range(len(table.columns[0].cells))]
    if not table.section or not rows:
        yield "", rows
        return
    names = table.numbers[table.section].tolist()
    for section in dict.fromkeys(names):
        yield section, [row for row in rows if names[row] == section]


def _markdown_rows(columns: Sequence[Column], widths: list[int], rows: list[int]) -> str:
    padded = []
    for column, width in zip(columns, widths, strict=True):
        rule = ":" + "-" * (width - 1) if column.words else "-" * (width - 1) + ":"
        pad = str.ljust if column.words else str.rjust
        texts = [column.heading, rule, *(column.cells[row] for row in rows)]
        padded.append([pad(text, width) for text in texts])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))


def latex(table: Table, name: str) -> str:
    """Return a table as LaTeX, labelled `tab:<name>`, and shrunk to the page only if it is wider.

    A table longer than a page continues in floats with the same number, since floats of two-column papers cannot
    be broken. The label of a table that follows is `tab:<name>-<its key>`.
    """
    columns = [column for column in table.columns if not column.prose]
    parts = _parts(table, columns)
    floats = [r"% \usepackage{booktabs,adjustbox}"]
    for number, rows in enumerate(parts):
        label = rf"\label{{tab:{name}}}" if not number else r"\addtocounter{table}{-1}"
        caption = tex(table.caption) + (" (continued)" if number else "")
        notes = tex(" ".join(table.notes)) if rows is parts[-1] else ""
        floats += [
            r"\begin{table*}[tp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            *([label] if number else []),
            rf"\caption{{{caption}}}",
            *([] if number else [label]),
            r"\begin{adjustbox}{max width=\linewidth}",
            rf"\begin{{tabular}}{{@{{}}{''.join(map(_alignment, columns))}@{{}}}}",
            r"\toprule",
            _latex_row([column.heading for column in columns]),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            r"\par\smallskip",
            *([rf"\parbox{{\linewidth}}{{\raggedright {notes}}}"] if notes else []),
            r"\end{table*}",
        ]
    more = (latex(other, f"{name}-{key}") for key, other in table.more.items())
    return "\n".join(["\n".join(floats) + "\n", *more])


def _alignment(column: Column) -> str:
    if max(map(len, column.cells), default=0) > MOST_LETTERS:
        return "p{60mm}"
    return "l" if column.words else "r"


def _parts(table: Table, columns: Sequence[Column]) -> list[list[str]]:
    by = [*table.groups]
    groups = table.numbers.groupby(by, dropna=False, sort=False).ngroup().tolist() if by else None
    sections = [*_sections(table)]
    count = sum(len(rows) for _, rows in sections)
    most = ceil(count / max(1, ceil(count / MOST_ROWS)))
    parts: list[list[str]] = [[]]
    held = 0
    for section, rows in sections:
        across = rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\textit{{{tex(section)}}}}} \\"
        for before, row in zip([None, *rows], rows, strict=False):
            if held == most:
                parts.append([])
                held = 0
            part, rule = parts[-1], r"\midrule"
            if section and (before is None or not part):
                part += [*([rule] if part else []), across, rule]
            elif part and groups and before is not None and groups[row] > groups[before]:
                part.append(rule)
            part.append(_latex_row([column.cells[row] for column in columns]))
            held += 1
    return parts


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(map(tex, texts)) + r" \\"


def write_table(out: Path, name: str, table: Table) -> None:
    """Write `<name>.csv`, with all numbers to eight digits, `<name>.md` and `<name>.tex`, each atomically."""
    csv = table.numbers.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    for suffix, text in {"csv": csv, "md": markdown(table), "tex": latex(table, name)}.items():
        with atomic_file(out / f"{name}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def mark(index: int) -> str:
    """Return the mark of footnote `index`, counted from 0: a raised letter, doubled after the last letter."""
    return _MARKS[index % len(_MARKS)] * (index // len(_MARKS) + 1)


def tex(text: str) -> str:
    """Return a text as LaTeX: reserved characters escaped, Markdown's bold and minus signs as LaTeX's.

    pdfLaTeX knows the characters of Western and Central European languages; others are commands.
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
