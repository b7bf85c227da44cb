"""A Chromium for the tests of the page: the machine's own, or Debian's."""

import os
import shutil
import subprocess

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
INSTALL = "apt-get install --yes --no-install-recommends chromium-headless-shell"
PATIENCE = 300_000  # milliseconds; a busy machine is no failure
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


def find_chromium() -> str:
    """Return the path of a Chromium: $CHROMIUM, one on the PATH, or else Debian's, installed if we are root.

    No package on PyPI carries a browser, and Playwright's own downloads are not reachable from every machine.
    """
    if not _on_path() and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run("apt-get update && " + INSTALL, shell=True, check=False, capture_output=True)
    if not (found := _on_path()):
        pytest.fail(f"no Chromium found: `{INSTALL}`, or set CHROMIUM to the path of one", pytrace=False)
    return found


def _on_path() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
