"""Budgets of methods with ratios of their own."""

from pathlib import Path

import yaml
from smoke import STUDY, make_project, snakemake, write

BUDGETS = ["results/smoke/budgets/llama/0.13.json", "results/smoke/budgets/llama/0.3.json"]


def test_a_method_is_checked_at_its_own_ratios_alone(tmp_path: Path) -> None:
    """One of two key-value groups in every layer is 13 % of the model; 30 % are out of their reach."""
    make_project(tmp_path)
    study = tmp_path / "config/studies/smoke.yaml"
    groups = {"criterion": "entropy", "units": "key_value_groups"}
    plain = {"models": ["llama"], "ratios": [0.13, 0.3], "recoveries": ["none"], "recovery": None}
    plain["measures"] = {"fidelity": STUDY["measures"]["fidelity"]}
    write(study, STUDY | plain | {"methods": {"entropy": None, "groups": groups | {"ratios": [0.13]}}})
    snakemake(tmp_path, *BUDGETS)
    log = "".join((tmp_path / f"logs/smoke/budgets/llama/{ratio}.log").read_text() for ratio in (0.13, 0.3))
    assert [line.partition(" of ")[0] for line in log.splitlines()] == [
        "ratio 0.13",
        "ratio 0.13",
        "ratio 0.3",
    ]
    assert "keep 1 of 2 key_value_groups" in log
    write(study, yaml.safe_load(study.read_text()) | {"methods": {"groups": groups | {"ratios": [0.3]}}})
    assert "ratio 0.3 cannot be reached by pruning key_value_groups" in snakemake(
        tmp_path, *BUDGETS, check=False
    )
    assert not (tmp_path / BUDGETS[1]).exists()
