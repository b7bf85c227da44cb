"""What a real study has cost beside the prediction: the operations of its jobs are the same, to the last one."""

import json
from pathlib import Path

import pytest

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.costs import Costs
from hfprune.cost.measured import comparison, pairs
from hfprune.devices.table import known_devices
from hfprune.settings import load
from hfprune.study.places import load_files


@pytest.fixture(scope="module")
def costs(finished: tuple[Path, str]) -> Costs:
    folder, _ = finished
    catalogue = load(Catalogue, folder / "config/assets.yaml")
    files = load_files(folder / "config/studies/smoke.yaml", catalogue)
    return Costs(files, known_devices()["cpu"], folder / "resources")


def test_operations_are_those_predicted(costs: Costs, finished: tuple[Path, str]) -> None:
    folder, _ = finished
    found = [*pairs(costs, folder / "results/smoke")]
    scoring, cut = {"score", "measure cost"}, {"measure fidelity", "measure perplexity"}
    assert scoring | cut | {"recover", "measure zeroshot", "measure latency", "measure ablation"} <= {
        pair.job.stage for pair in found
    }
    for pair in found:
        if pair.job.stage in scoring:
            assert pair.cost["flops"] == pair.job.flops, pair.job
        elif pair.job.stage in cut:
            # A plan rounds to whole units, of which these models have few.
            assert pair.cost["flops"] == pytest.approx(pair.job.flops, rel=0.03), pair.job
        elif pair.job.stage == "recover":
            # Padding that a batch shares is not read.
            assert 0.5 < pair.cost["flops"] / pair.job.flops <= 1


def test_results_have_operations_and_utilisation(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    results = [
        json.loads(file.read_text()) for file in (folder / "results/smoke/cells").rglob("fidelity.json")
    ]
    measured = [result for result in results if "not_applicable" not in result]
    assert measured
    for result in measured:
        cost = result["provenance"]["cost"]
        assert cost["flops"] > 0 and cost["cpu_seconds"] > 0
        assert 0 < cost["utilisation"] < 2


def test_prediction_beside_measurement(costs: Costs, finished: tuple[Path, str]) -> None:
    folder, _ = finished
    table = comparison(costs, folder / "results/smoke")
    assert "| measure fidelity" in table and "processor, s" in table.splitlines()[0]
