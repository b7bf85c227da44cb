"""Make the page of findings from the texts in `findings/` and the studies' tables; check what the texts assert."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.stages import Stage
from hfprune.stages.fields import PaperFolder


class MakeFindings(Stage):
    """The page of findings, with its figures."""

    example: ClassVar = "hfprune findings --out docs/findings.md"

    texts: Path = Field(
        default=Path("findings"), description="folder of the text, and of what its names mean"
    )
    results: Path = Field(default=Path("results"), description="folder with the results of each study")
    paper: PaperFolder = Path("paper")
    out: Path = Field(description="the page; its figures go into a folder beside it")

    def run(self) -> None:
        """Write the page and its figures, all or nothing.

        Raises:
            HfpruneError: a word of the text is not what the numbers say, with its line; or a declared analysis is
                not reported.
        """
        from hfprune.files import atomic_file
        from hfprune.findings.page import FOLDER, Findings

        page, files = Findings(self.texts, self.results, self.paper).made()
        made = {self.out.parent / FOLDER / name: text for name, text in files.items()} | {self.out: page}
        for path, text in made.items():
            with atomic_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
