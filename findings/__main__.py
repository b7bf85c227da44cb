"""Make the pages of findings from the texts in `findings/` and the studies' tables; check what the texts assert.

Run it from the root of a clone. The list of studies in `studies.md`, beside the pages, is made again, too.
"""

import argparse
import re
import sys
from pathlib import Path

from findings.page import FOLDER, Findings
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.settings import load
from hfprune.study.study import Study

LIST = re.compile(r"(?<=\| study \| what it measures \|\n\|---\|---\|\n)(?:\|.*\n)*")


def listed(page: str, studies: Path) -> str:
    """Return `docs/studies.md` with a row for each study in a folder, by its description."""
    files = sorted(studies.glob("*.yaml"))
    rows = [f"| `{file.stem}` | {load(Study, file).description} |\n" for file in files]
    return LIST.sub(lambda _: "".join(rows), page)


def main() -> None:
    """Write the pages and their figures, all or nothing.

    A word of a text that is not what the numbers say ends it with the line of the text and exit code 1.
    """
    parser = argparse.ArgumentParser(prog="python -m findings", description=__doc__)
    about = "the folder of the pages; figures go into a folder within it"
    parser.add_argument("--out", type=Path, required=True, help=about)
    out: Path = parser.parse_args().out
    try:
        pages, files = Findings(Path("findings"), Path("results"), Path("paper")).rendered()
    except HfpruneError as error:
        sys.exit(f"{parser.prog}: error: {error}")
    texts = {out / FOLDER / name: text for name, text in files.items()}
    texts |= {out / name: page for name, page in pages.items()}
    if (listing := out / "studies.md").exists():
        texts[listing] = listed(listing.read_text(encoding="utf-8"), Path("config/studies"))
    for path, text in texts.items():
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
