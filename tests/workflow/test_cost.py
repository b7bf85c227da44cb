"""What a real study has cost beside the prediction."""

import re
from pathlib import Path

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.choice import costs_of
from hfprune.cost.table import comparison
from hfprune.devices.table import known_devices
from hfprune.settings import load


def test_prediction_beside_measurement(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    catalogue = load(Catalogue, folder / "config/assets.yaml")
    study = folder / "config/studies/smoke.yaml"
    costs = costs_of(study, catalogue, known_devices()["cpu"], folder / "resources")
    table = comparison(costs, folder / "results/smoke")
    found = set(re.findall(r"(?m)^\| (\w+).* [1-9]\d*% +\|$", table))
    assert {"score", "recover", "measure"} <= found, table
