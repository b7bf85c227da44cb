"""Sizes of the calibration through the workflow: one job scores all, and what is added is scored alone."""

from pathlib import Path

import pandas as pd
from smoke import STUDY, change, contents, jobs, snakemake


def test_one_pass_gives_every_size_its_draws_and_a_new_size_leaves_the_others_as_they_are(
    project: Path,
) -> None:
    calibration = STUDY["calibrations"]["text"] | {"sequences": 10, "length": 16, "sampling": "pack"}
    path = project / "config/studies/smoke.yaml"
    change(
        path,
        models=["llama"],
        methods={"entropy": None, "cross_entropy": None, "random": None},
        **{"recoveries": ["none"], "recovery": None, "draws": [7], "resamples": 2},
        calibrations={"text": calibration | {"sizes": {2: 3, 8: 1}}},
        measures={name: STUDY["measures"][name] | {"sequences": 8} for name in ("fidelity", "perplexity")},
    )
    done = jobs(snakemake(project, "effects"))
    assert (done["calibrate"], done["score_0"], done["score_1"], done["plan"]) == (1, 1, 1, 2 * (3 + 1) + 1)
    found = pd.read_csv(project / "results/smoke/effects.csv")
    compared = found.query("question == 'reference' and outcome == 'js_distance'").set_index(
        ["method", "sequences"]
    )
    by = [("cross_entropy", 2), ("cross_entropy", 8), ("random", 8)]
    assert [*compared.index] == by
    drawn = compared.loc[by, ["against", "draws", "resamples"]]
    assert drawn.to_numpy().tolist() == [["entropy", 3, 0], ["entropy", 1, 2], ["entropy", 1, 2]]
    assert compared.loc[by, "low"].notna().all()
    rows = pd.read_csv(project / "results/smoke/results.csv").query("metric == 'sequences' and draw == draw")
    read = rows.groupby(["method", "sequences"])[["draw", "value"]].agg(list).loc[("entropy", 2)]
    assert (read["draw"], read["value"]) == ([7, 8, 9], [2, 2, 2])

    before = contents(project, "results/smoke/scores/llama/*/text/[28]/*")
    assert len(before) == 2 * (3 + 1) * 3, "scores, their record and resampled ones of two methods"
    change(path, calibrations={"text": calibration | {"sizes": {2: 3, 5: 2, 8: 1}}})
    done = jobs(snakemake(project, "effects"))
    assert (done["score_0"], done["plan"]) == (1, 4) and "score_1" not in done
    assert contents(project, "results/smoke/scores/llama/*/text/[28]/*") == before
    assert "Nothing to be done" in snakemake(project, "effects")
