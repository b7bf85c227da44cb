"""What git holds of the studies, whatever a run has written into their folders since."""

import atexit
import io
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml
from smoke import ROOT

_TRACKED = subprocess.run(
    ["git", "ls-tree", "--name-only", "HEAD", "results/"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
)
COMMITTED = [Path(folder).name for folder in _TRACKED.stdout.split()]
# What takes long is made again of these, one of each kind of effect, and by `make test-all` of all.
OFTEN = {"demo", "table7", "dose", "accuracy", "cost", "recovery"}
EACH_STUDY = [
    pytest.param(study, marks=[] if study in OFTEN else pytest.mark.thorough) for study in COMMITTED
]


@cache
def committed() -> Path:
    """Return a folder with `results/` and `figures/` as the last commit has them; change nothing in it."""
    command = ["git", "archive", "HEAD", "results", "figures"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    folder = Path(tempfile.mkdtemp(prefix="committed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def results_of(study: str) -> Path:
    return committed() / "results" / study


@cache
def part_of(study: str, model: str, ratio: float, calibration: str) -> Path:
    """Return a copy of a study's folder with one model, ratio and calibration alone."""
    folder = committed() / calibration / study
    shutil.copytree(results_of(study), folder)
    chosen = {"model": [model], "ratio": [ratio, 0.0], "calibration": [calibration, "none"]}
    for path in (*folder.glob("*.csv"), *folder.glob("*.parquet")):
        rows = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        for column in rows.columns.intersection([*chosen]):
            kept = rows[column].isin(chosen[column]) | rows[column].isna()
            rows = rows[kept | (rows["verdict"] == "not run")] if "verdict" in rows else rows[kept]
        if path.suffix == ".csv":
            rows.to_csv(path, index=False)
        else:
            rows.to_parquet(path, index=False)
    settings = yaml.safe_load((folder / "study.yaml").read_text())
    settings |= {"models": [model], "ratios": [ratio], "effects": []}
    settings["calibrations"] = {calibration: settings["calibrations"][calibration]}
    settings["measures"] = {"fidelity": settings["measures"]["fidelity"]}
    (folder / "study.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder


def change(file: Path, query: str, **values: object) -> None:
    """Write a table with other values, or what functions make of the old ones, in the rows of a query."""
    rows = (
        pd.read_parquet(file)
        if file.suffix == ".parquet"
        else pd.read_csv(file, dtype=str, keep_default_na=False)
    )
    rows = rows.astype(dict.fromkeys(values, object))
    at = rows.query(query).index
    assert len(at)
    for name, value in values.items():
        rows.loc[at, name] = rows.loc[at, name].map(value) if callable(value) else value
    if file.suffix == ".parquet":
        rows.convert_dtypes().to_parquet(file, index=False)
    else:
        rows.to_csv(file, index=False)
