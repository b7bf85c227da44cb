"""Compare a study's numbers with the committed ones, or with another folder's."""

import subprocess
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from zipfile import ZipFile

from pydantic import Field

from hfprune.assets.shipped import shipped
from hfprune.errors import HfpruneError
from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder


class CheckResults(Stage):
    """Whether a study's numbers equal the committed ones."""

    example: ClassVar = "hfprune check --results results/demo"

    results: CollectedFolder
    against: Path | None = Field(
        default=None,
        description="folder to compare with (the same study in the last commit)",
    )
    out: Path | None = Field(
        default=None, description="write the answer to this Markdown file, and exit with 0 whatever it is"
    )

    def run(self) -> None:
        """Print how many rows of each file are equal, which differ, what was not compared, and possible reasons.

        Raises:
            HfpruneError: a file cannot be read; or, without `out`, there is nothing to compare with, or a row is
                missing, added, different beyond what another run may change, or inconsistent with other files.
        """
        from hfprune.checking.reproduction import reproduction, study_name
        from hfprune.effects.analysed import analysed
        from hfprune.files import atomic_file
        from hfprune.report.table_files import write_tables

        with TemporaryDirectory() as temporary:
            tables = Path(temporary, "made")
            kept = self.against or Path(temporary, "results", study_name(self.results))
            lacking = None if self.against else _extract(kept.relative_to(temporary), Path(temporary))
            if lacking and not self.out:
                raise HfpruneError(lacking)

            def again(names: list[str]) -> Path:
                write_tables(self.results, shipped(Path("paper")), tables, names)
                return tables

            same, text = False, f"{lacking}.\n"
            if not lacking:
                same, text = reproduction(kept, self.results, again, analysed)
        if self.out:
            with atomic_file(self.out) as file:
                file.write_text(text)
        print(text)
        if not (same or self.out):
            raise HfpruneError(
                f"{self.results}: not the numbers of {self.against or 'the last commit'}, or not consistent "
                "with each other; see the rows above"
            )


def _extract(folder: Path, out: Path) -> str | None:
    """Extract a folder from the last commit of this checkout, or return why that is impossible."""
    try:
        top = _git("rev-parse", "--show-toplevel").decode().strip()
    except (OSError, subprocess.CalledProcessError):  # no git, no checkout
        return f"{Path.cwd()} is in no git checkout, so that there are no committed results; give --against FOLDER"
    try:
        archive = _git("-C", top, "archive", "--format=zip", "HEAD", str(folder))
    except subprocess.CalledProcessError:
        return f"the last commit of {top} holds no {folder}; give --against FOLDER"
    ZipFile(BytesIO(archive)).extractall(out)
    return None


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], capture_output=True, check=True).stdout
