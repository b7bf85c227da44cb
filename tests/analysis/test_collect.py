"""Collecting: values and levels, items, records, the neurons that methods keep, and what users get wrong."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import PAPER, Study, gather, save_layers

from hfprune.cells import DENSE, KEY, Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError
from hfprune.results.files import DTYPES, RESULT, read_union
from hfprune.results.reader import Results
from hfprune.study import paths
from hfprune.study.study import Study as Config

VALUES = [*KEY, "value"]
MODEL = "tiny-llama"
# Sequences that scores of the methods of `settings` read.
READ = {"a": 4, "b": 0, "c": 0}


def settings(methods: list[str], **changes) -> Config:
    known = {"a": "entropy", "b": "magnitude", "c": "random"}
    return Config(
        **{"models": ["m"], "ratios": [0.2], "measures": {}} | changes,
        methods={name: {"criterion": known.get(name, name)} for name in methods},
        calibrations={"c4": {"corpus": "c4", "sequences": 4, "length": 8}},
    )


def test_one_sorted_row_per_number_and_one_of_its_level_with_stable_types(study: Study) -> None:
    piqa = Value("acc", 0.5, 0.1, 64), Value("acc_norm", 0.6, (0.24 / 9) ** 0.5, 10)
    study.result("cross_entropy", 0.3, "zeroshot", "piqa", *piqa)
    study.result("entropy", None, "cost", "", Value("seconds", 1.5))
    study.result(DENSE, 0.0, "perplexity", "wiki", Value("perplexity", 12.0, 0.1, 24))
    data = Results(study.collect())
    assert [*data.whole][: len(VALUES)] == VALUES and data.whole.dtypes.astype(str).to_dict() == DTYPES
    said = ["label", "criterion", "metric_label", "unit", "scale", "value"]
    assert data.tidy[said].to_numpy().tolist() == [
        ["Cross-entropy", "cross_entropy", "Accuracy", "%", 100, 0.5],
        ["Cross-entropy", "cross_entropy", "Normalised accuracy", "%", 100, 0.6],
        ["Dense", "", "Perplexity", "", 1, 12.0],
        ["Entropy", "entropy", "Time of scoring", "s", 1, 1.5],
    ]
    last = data.tidy.iloc[-1]
    assert np.isnan(last["ratio"]) and np.isnan(last["stderr"]) and last["n"] is pd.NA
    assert data.tidy[["low", "high", "draws"]].isna().all(axis=None), "those of levels"
    levels = data.levels.set_index(["method", "task", "metric"])
    assert levels.loc[("entropy", "", "seconds"), ["value", "draws"]].tolist() == [1.5, 1]
    assert levels.loc[("cross_entropy", "average", "average"), "value"] == 0.6, "of the primary metric"
    # The roots of Wilson's equation.
    for end in levels.loc[("cross_entropy", "piqa", "acc_norm"), ["low", "high"]]:
        assert (end - 0.6) ** 2 == pytest.approx(1.95996**2 * end * (1 - end) / 10, rel=1e-4)


def test_csv_holds_the_same_numbers_to_the_last_bit(study: Study) -> None:
    numbers = np.random.default_rng(0).normal(size=(50, 2)) ** 3
    for draw, (value, error) in enumerate(numbers):
        study.result("entropy", 0.2, "fidelity", "c4", Value("js_distance", value, abs(error), 9), draw=draw)
    rows = Results(study.collect()).tidy
    assert rows[["value", "stderr"]].to_numpy().tolist() == [[a, abs(b)] for a, b in numbers.tolist()]


def test_order_of_the_files_changes_no_byte(collected: Path, tmp_path: Path) -> None:
    whole = Study(collected)
    gather(whole.config(), collected, tmp_path, results=whole.results[::-1])
    for name in paths.TIDY:
        assert (tmp_path / name).read_bytes() == (collected / name).read_bytes(), name


def test_every_item_is_a_row_with_its_cell_and_resample(study: Study) -> None:
    study.outcomes("entropy", 0.2, "zeroshot/boolq", [1, 0, 1])
    path = study.outcomes(DENSE, 0.0, "perplexity", [2.0, 1.0], metric="nll")
    items = pd.DataFrame({"item": [1, 0] * 2, "document": [10, 9] * 2, "nll": [3.0, 2.0, 5.0, 4.0]})
    items.assign(resample=[0, 0, 1, 1]).to_parquet(path.with_suffix(".parquet"))
    data = Results(study.collect())
    boolq = data.items("zeroshot")
    assert [*boolq] == [*RESULT, "resample", "item", "acc"], "no column of another measure"
    assert boolq[["method", "ratio", "task", "resample", "acc"]].to_numpy().tolist() == [
        ["entropy", 0.2, "boolq", 0, acc] for acc in (1.0, 0.0, 1.0)
    ]
    # In the order of documents, as numbers.
    assert data.items("perplexity")[["document", "item", "resample", "nll"]].to_numpy().tolist() == [
        *(["9", 0, 0, 2.0], ["10", 1, 0, 3.0], ["9", 0, 1, 4.0], ["10", 1, 1, 5.0])
    ]
    assert data.items("fidelity").empty


def test_every_result_has_a_record_of_its_provenance(tmp_path: Path) -> None:
    made = {"hfprune": "1", "packages": {"torch": "2"}, "hardware": {"cores": 2}, "git": None, "drawn": 3}
    cell = Cell("s", "m", "random", "c4", 0, 0.2, 1, Recovery.NONE)
    path = tmp_path / "plan.json"
    write_result(path, cell, "size", "", [Value("parameters", 1.0)], made, not_applicable="cuts nothing")
    (record,) = Results(gather(settings(["random"]), tmp_path, results=[path])).records.to_dict("records")
    assert [record[name] for name in RESULT] == ["m", "random", "c4", 0, 0.2, 1, "none", "size", ""]
    assert (record["version"], record["commit"], record["not_applicable"]) == ("1", "", "cuts nothing")
    parts = [json.loads(record[name]) for name in ("packages", "hardware", "settings", "more")]
    assert parts == [{"torch": "2"}, {"cores": 2}, {}, {"drawn": 3}]


def test_nothing_measured_yet_gives_empty_tables(tmp_path: Path) -> None:
    folder = gather(settings(["a"]), tmp_path)
    assert (folder / "results.csv").read_text() == ",".join(DTYPES) + "\n"
    data = Results(folder, PAPER)
    assert data.tidy.empty and data.levels.empty and data.records.empty and data.items("fidelity").empty
    assert data.curves.empty


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("zeroshot-piqa.json", lambda text: text[: len(text) // 2], "not a complete result"),
        ("zeroshot-piqa.json", lambda text: text.replace(b'"measure"', b'"it"'), "measure: Field required"),
        ("zeroshot-piqa.json", None, "not a complete result"),
        ("zeroshot-piqa.parquet", lambda text: b"cut off", r"cannot read it .* delete it and measure again"),
        ("draw0.safetensors", lambda text: text[:200], "not a safetensors file of mlp"),
    ],
)
def test_a_broken_file_is_named(study: Study, name: str, change, message: str) -> None:
    study.outcomes("entropy", 0.2, "zeroshot/piqa", [1, 0])
    save_layers(study.folder / "scores/tiny-llama/entropy/c4/4/draw0.safetensors", np.arange(100.0))
    results = study.results
    (path,) = study.folder.rglob(name)
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    with pytest.raises(HfpruneError, match=message) as error:
        gather(study.config(), study.folder, results=results)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert not (study.folder / "results.csv").exists(), "nothing is written before everything is read"


def test_two_results_for_one_number_are_both_named(study: Study) -> None:
    first = study.result("entropy", None, "cost", "", Value("seconds", 1.0))
    second = first.with_name("twin.json")
    second.write_bytes(first.read_bytes())
    with pytest.raises(HfpruneError, match="gives seconds of the same cell") as error:
        study.collect()
    assert str(first) in str(error.value) and str(second) in str(error.value)
    assert not (study.folder / "results.csv").exists()


def test_reading_before_collecting_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match=r"records\.parquet: is not there; .*hfprune collect"):
        read_union(tmp_path / "records.parquet")
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(HfpruneError, match=r"results\.csv: has no column .*hfprune collect"):
        _ = Results(tmp_path).whole


def test_columns_of_one_name_and_two_types_are_named(tmp_path: Path) -> None:
    study = Study(tmp_path / "own")
    study.outcomes("entropy", 0.2, "zeroshot/boolq", [1, 0])
    path = study.outcomes("entropy", 0.2, "fidelity", [1, 0], metric="js_distance")
    pd.DataFrame({"item": [0], "acc": ["much"]}).to_parquet(path.with_suffix(".parquet"))
    with pytest.raises(HfpruneError, match=r"items\.parquet: two measures have different columns .*acc"):
        study.collect()
