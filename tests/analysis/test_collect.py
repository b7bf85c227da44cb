"""Collecting: the tidy table, the overlap of kept neurons, the quantiles of scores, and what users get wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from synthetic import Study

from hfprune.analysis.collect import collect
from hfprune.analysis.declarations import declare
from hfprune.analysis.tidy import DTYPES, read_collected
from hfprune.errors import HfpruneError
from hfprune.results import Cell, Value, write_result
from hfprune.study import layout
from hfprune.study.labels import labels

HEADER = "study,model,method,ratio,seed,recovery,measure,task,metric,value,stderr,n"


def save(path: Path, *layers: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"mlp.{i}": np.ascontiguousarray(layer) for i, layer in enumerate(layers)}, path)
    return path


def test_one_sorted_row_per_number_with_stable_types(study: Study) -> None:
    study.result(
        "random", 0.3, "zeroshot", "piqa", Value("acc", 0.5, 0.1, 64), Value("acc_norm", 0.6, 0.2, 64)
    )
    study.result("entropy", None, "cost", "", Value("seconds", 1.5))
    table = read_collected(study.collect() / "results.parquet")

    assert ",".join(table) == HEADER
    assert table.dtypes.astype(str).to_dict() == DTYPES
    assert table[["method", "metric", "value"]].to_numpy().tolist() == [
        ["entropy", "seconds", 1.5],
        ["random", "acc", 0.5],
        ["random", "acc_norm", 0.6],
    ]
    assert np.isnan(table.loc[0, "ratio"]) and np.isnan(table.loc[0, "stderr"]) and table.loc[0, "n"] is pd.NA


def test_csv_holds_the_same_numbers_to_the_last_bit(collected: Path) -> None:
    csv = pd.read_csv(collected / "results.csv", dtype=str, keep_default_na=False)
    for column in ("ratio", "value", "stderr", "n"):
        # Python's float, because pandas' own parser need not be exact.
        csv[column] = [float(text) if text else None for text in csv[column]]
    parquet = read_collected(collected / "results.parquet")
    pd.testing.assert_frame_equal(csv.astype(DTYPES), parquet, check_exact=True)


def test_order_of_the_files_changes_no_byte(collected: Path, tmp_path: Path) -> None:
    whole = Study(collected)
    about = {"declarations": declare(whole.config()), "labels": labels(whole.config())}
    parts = whole.results[::-1], whole.scores[::-1], whole.plans[::-1]
    collect(*parts, tmp_path, **about)
    for name in layout.TIDY:
        assert (tmp_path / name).read_bytes() == (collected / name).read_bytes(), name


def test_provenance_has_every_commit_version_and_machine_once(tmp_path: Path) -> None:
    made = {"hfprune": "1", "packages": {"torch": "2"}, "hardware": {"cores": 2}, "git": None}
    paths = []
    for i, (git, day) in enumerate((("b", "03"), ("a", "01"), ("a", "02"))):
        paths.append(tmp_path / f"cells/{i}.json")
        cell, run = Cell("s", "m", "random", 0.2, i, "none"), {"git": git, "started": f"2026-01-{day}"}
        write_result(paths[-1], cell, "size", "", [Value("parameters", 1.0)], made | run)
    collect(paths, [], [], tmp_path)
    found = json.loads((tmp_path / "provenance.json").read_text())
    assert found == {key: [value] for key, value in made.items()} | {
        "git": ["b", "a"],
        "first_started": ["2026-01-01"],
        "last_started": ["2026-01-03"],
    }


def test_nothing_measured_yet_gives_empty_tables(tmp_path: Path) -> None:
    collect([], [], [], tmp_path)
    assert (tmp_path / "results.csv").read_text() == HEADER + "\n"
    assert read_collected(tmp_path / "results.parquet").dtypes.astype(str).to_dict() == DTYPES
    assert read_collected(tmp_path / "overlap.csv").empty
    assert read_collected(tmp_path / "score_quantiles.csv").empty


def test_overlap_is_jaccard_of_each_pair_once_beside_that_of_chance(tmp_path: Path) -> None:
    plans = [
        save(tmp_path / f"plans/m/{method}/0.2/seed0.safetensors", np.int32(kept), np.int32([0, 1]))
        for method, kept in {"b": [0, 1, 2, 3], "a": [2, 3, 4, 5], "c": [6, 7, 8, 9]}.items()
    ]
    # Layer 0 is known to be ten neurons wide; layer 1 has no scores.
    scores = save(tmp_path / "scores/m/a/seed0.safetensors", np.arange(10.0))
    collect([], [scores], plans, tmp_path)
    overlap = read_collected(tmp_path / "overlap.csv")

    first = overlap[overlap["layer"] == 0]
    assert first[["model", "seed", "ratio", "method_a", "method_b"]].to_numpy().tolist() == [
        ["m", 0, 0.2, "a", "b"],
        ["m", 0, 0.2, "a", "c"],
        ["m", 0, 0.2, "b", "c"],
    ]
    # {2, 3} of {0, …, 5}; by chance 4·4/10 = 1.6 common ones of 8 - 1.6.
    assert first["jaccard"].tolist() == [2 / 6, 0, 0]
    assert first["expected"].tolist() == pytest.approx([1.6 / 6.4] * 3)
    second = overlap[overlap["layer"] == 1]
    assert second["jaccard"].tolist() == [1, 1, 1] and second["expected"].isna().all()


def test_plans_are_compared_only_at_the_same_model_ratio_and_seed(tmp_path: Path) -> None:
    places = ["m/a/0.2/seed0", "m/b/0.2/seed1", "m/b/0.3/seed0", "n/b/0.2/seed0"]
    plans = [save(tmp_path / f"plans/{place}.safetensors", np.int32([0, 1])) for place in places]
    collect([], [], plans, tmp_path)
    assert read_collected(tmp_path / "overlap.csv").empty


def test_layers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "scores/m/a/seed3.safetensors", *[[1.0, 1.0]] * 11)
    collect([], [path], [], tmp_path)
    quantiles = read_collected(tmp_path / "score_quantiles.csv")
    assert quantiles["layer"].drop_duplicates().tolist() == [*range(11)]
    assert set(quantiles["seed"]) == {3}


def test_score_quantiles_are_relative_to_the_layer_mean(tmp_path: Path) -> None:
    path = save(tmp_path / "scores/m/a/seed0.safetensors", np.arange(21.0)[::-1])
    collect([], [path], [], tmp_path)
    quantiles = read_collected(tmp_path / "score_quantiles.csv")
    # Scores 0, …, 20 with mean 10: the quantiles at steps of 1/20 are the scores themselves.
    assert quantiles["quantile"].tolist() == [round(0.05 * i, 2) for i in range(21)]
    assert quantiles["score"].tolist() == pytest.approx([0.1 * i for i in range(21)])


def test_z_scores_have_no_mean_to_be_relative_to(tmp_path: Path) -> None:
    scores = np.arange(21.0)
    paths = [
        save(tmp_path / "scores/m/a/seed0.safetensors", scores),
        save(tmp_path / "scores/m/b/seed0.safetensors", scores - scores.mean()),
    ]
    collect([], paths, [], tmp_path)
    assert set(read_collected(tmp_path / "score_quantiles.csv")["method"]) == {"a"}
    assert set(pd.read_parquet(tmp_path / "neurons.parquet")["method"]) == {"a"}
    assert len(read_collected(tmp_path / "rank_correlation.csv")) == 1, "ranks have no unit"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a complete result"),
        (lambda text: text.replace('"measure"', '"measurement"'), "measure: Field required"),
        (lambda text: text.replace("0.25", '"a quarter"'), "values.0.value"),
        (lambda text: "[]", "not a complete result"),
    ],
)
def test_a_broken_result_is_named(study: Study, change, message: str) -> None:
    path = study.result("entropy", 0.2, "zeroshot", "piqa", Value("acc", 0.25))
    path.write_text(change(path.read_text()))
    with pytest.raises(HfpruneError, match=message) as error:
        study.collect()
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_missing_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match=r"gone\.json: not a complete result"):
        collect([tmp_path / "gone.json"], [], [], tmp_path)


def test_two_results_for_one_number_are_both_named(study: Study) -> None:
    first = study.result("entropy", None, "cost", "", Value("seconds", 1.0))
    second = first.with_name("twin.json")
    second.write_bytes(first.read_bytes())
    with pytest.raises(HfpruneError, match="gives seconds of the same cell") as error:
        study.collect()
    assert str(first) in str(error.value) and str(second) in str(error.value)
    assert not (study.folder / "results.parquet").exists()


@pytest.mark.parametrize(
    ("kind", "place", "shape"),
    [
        ("scores", "scores/m/seed0.safetensors", "scores/{model}/{method}/seed{seed}"),
        ("scores", "scores/m/a/seedx.safetensors", "scores/{model}/{method}/seed{seed}"),
        ("plans", "plans/m/a/seed0.safetensors", "plans/{model}/{method}/{ratio}/seed{seed}"),
        ("plans", "plans/m/a/most/seed0.safetensors", "plans/{model}/{method}/{ratio}/seed{seed}"),
    ],
)
def test_a_misplaced_file_is_named_with_its_proper_place(
    tmp_path: Path, kind: str, place: str, shape: str
) -> None:
    path = save(tmp_path / place, [1.0])
    with pytest.raises(HfpruneError, match=re.escape(shape)) as error:
        collect(**{"results": [], "scores": [], "plans": [], "out": tmp_path, kind: [path]})
    assert str(path) in str(error.value)


def test_half_a_safetensors_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "scores/m/a/seed0.safetensors", np.arange(100.0))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(HfpruneError, match="not a safetensors file of mlp") as error:
        collect([], [path], [], tmp_path)
    assert str(path) in str(error.value)


def test_reading_before_collecting_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match=r"results\.parquet: is not there; .*hfprune collect"):
        read_collected(tmp_path / "results.parquet")


def test_unreadable_distributions_are_named(tmp_path: Path) -> None:
    more = {"distributions": {"corpus": "c4", "sequences": 4, "length": 8}}
    study = Study(tmp_path / "own", methods=["entropy"], ratios=[0.2], more=more)
    study.result("dense", 0.0, "distributions", "c4", Value("entropy", 2.5, 0.25, 4))
    (file,) = study.folder.glob("cells/**/distributions-c4.json")
    file.with_suffix(".parquet").write_text("cut off")
    with pytest.raises(HfpruneError, match=r"c4\.parquet: cannot read it .* delete it and measure again"):
        study.collect()
