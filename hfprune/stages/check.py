"""Compare a study's numbers with those that git holds of it, or with anybody's."""

import subprocess
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from zipfile import ZipFile

from pydantic import Field

from hfprune.errors import HfpruneError
from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder


class CheckResults(Stage):
    """Whether a study's numbers are those that git holds."""

    example: ClassVar = "hfprune check --results results/demo"

    results: CollectedFolder
    against: Path | None = Field(
        default=None,
        description="folder that `collect` wrote to (what the last commit holds of the same study)",
    )
    out: Path | None = Field(
        default=None, description="Markdown file of the answer, in place of an exit code"
    )

    def run(self) -> None:
        """Print how many values are equal, the largest difference, the verdicts that changed, and what may be why.

        Raises:
            HfpruneError: without `out`, where git holds no results of this study, a value lies outside its
                interval or is missing, or a verdict has changed.
        """
        from hfprune.analysis.reproduction import reproduction
        from hfprune.analysis.tidy import STUDY, Tidy
        from hfprune.files import atomic_file

        with TemporaryDirectory() as temporary:
            name = Tidy(self.results).whole["study"].iloc[0]
            kept = self.against or _committed(Path("results", name), Path(temporary))
            same, text = False, f"The last commit here holds no results of {name}.\n"
            if self.against or (kept / STUDY).exists():
                same, text = reproduction(Tidy(kept), Tidy(self.results))
        if self.out:
            with atomic_file(self.out) as file:
                file.write_text(text)
        print(text)
        if not (same or self.out):
            raise HfpruneError(f"{self.results}: not the numbers of {self.against or 'the last commit'}")


def _committed(folder: Path, out: Path) -> Path:
    """Extract what the last commit of this checkout holds of a folder."""
    archive = b""
    with suppress(FileNotFoundError):  # no git
        command = ["git", "archive", "--format=zip", "HEAD", str(folder)]
        archive = subprocess.run(command, capture_output=True, check=False).stdout
    if archive:
        ZipFile(BytesIO(archive)).extractall(out)
    return out / folder
