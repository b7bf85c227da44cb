"""Packages that add criteria and measures, as pip leaves them, and the command line that sees them."""

import os
import subprocess
import sys
from pathlib import Path

from smoke import ROOT


def install(site: Path, name: str, points: dict[str, str]) -> None:
    """Lay down what pip leaves of a package that has entry points."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {value}" for point, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[hfprune.criteria]", *lines, ""]))


def hfprune(package: Path, *arguments: str) -> subprocess.CompletedProcess:
    code = "import sys; sys.argv[0] = 'hfprune'; from hfprune.commands import main; main()"
    command = [sys.executable, "-P", "-c", code, *arguments]  # -P: not the hfprune of this folder
    environment = os.environ | {"PYTHONPATH": str(package)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
