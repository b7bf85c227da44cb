"""The page of one study or of several side by side: one HTML file that needs no network."""

from collections.abc import Sequence
from pathlib import Path

import hfprune
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.page import answer, claims, figures, methods, ran, tables
from hfprune.page.html import template, text
from hfprune.page.study import StudyResults, read_study


def write_page(folders: Sequence[Path], paper: Path, out: Path) -> None:
    """Write the page of the studies whose results lie in `folders`.

    Raises:
        HfpruneError: a folder has no tidy table, a table cannot be read, or two folders are of one study.
    """
    studies = [read_study(folder, paper, out.parent) for folder in folders]
    names = [study.name for study in studies]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise HfpruneError(f"two results folders are of one study, {min(repeated)!r}: give each study once")
    page = render(studies, paper)
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def render(studies: Sequence[StudyResults], paper: Path) -> str:
    return template("page.html.j2").render(
        several=len(studies) > 1,
        studies=studies,
        cards=[card for study in studies for card in answer.cards(study)],
        claims=claims.lines(studies),
        figures={study.name: figures.read_all(study) for study in studies},
        methods=methods.read_all(studies),
        tables={study.name: [*tables.read_all(study)] for study in studies},
        ran={study.name: ran.facts(study) for study in studies},
        version=hfprune.__version__,
        style=text("page.css"),
        script=text("page.js"),
    )
