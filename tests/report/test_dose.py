"""The figure of sizes, and the table of each method beside itself on another sample, by hand."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
from safetensors.numpy import load_file
from scipy.stats import t
from synthetic import PAPER, analysed, study_of_sizes

from hfprune.paper.printed import DOSE
from hfprune.report.drawing.figure_files import make_figure
from hfprune.report.publication import FIGURES
from hfprune.report.style import METHODS
from hfprune.report.table_files import make_table
from hfprune.results.reader import Results

LENGTH = 8  # tokens of a calibration sequence
ENTROPY = {4: [0.30, 0.31, 0.35], 16: [0.25, 0.27, 0.26]}
OTHER = {4: [0.33, 0.36, 0.36], 16: [0.25, 0.28, 0.28]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    means = {"entropy": ENTROPY, "cross_entropy": OTHER}
    folder = study_of_sizes(tmp_path_factory.mktemp("sizes"), {4: 3, 16: 3}, means)
    analysed(folder)
    return folder


def overlap(folder: Path, size: int, *plans: tuple[str, int]) -> float:
    """Return the mean Jaccard index over layers of two plans of a size, each by its method and draw."""
    files = (next(folder.glob(f"plans/tiny-llama/{name}/c4/{size}/0.2/draw{draw}.*")) for name, draw in plans)
    a, b = map(load_file, files)
    return np.mean([len({*a[name]} & {*b[name]}) / len({*a[name]} | {*b[name]}) for name in a])


def test_curves_are_of_methods_by_tokens_with_intervals_over_samples(folder: Path) -> None:
    data = Results(folder, PAPER)
    figure = figure_of("dose", data)
    own, effect, kept = figure.axes
    joined = {line.get_color(): line for line in own.lines if line.get_linestyle() == "-"}
    values = data.draws[data.draws["against"].isna()].set_index(["method", "sequences"])
    for name, means in {"entropy": ENTROPY, "cross_entropy": OTHER}.items():
        line = joined[METHODS[name].colour]
        assert line.get_xdata() == pytest.approx([4 * LENGTH, 16 * LENGTH], rel=0.2)
        assert line.get_ydata() == pytest.approx([np.mean(means[4]), np.mean(means[16])])
        for size, drawn in means.items():
            row, half = values.loc[(name, size)], t.ppf(0.975, 2) * np.std(drawn, ddof=1) / np.sqrt(3)
            assert (row["low"], row["high"]) == pytest.approx((np.mean(drawn) - half, np.mean(drawn) + half))
            assert row["again"] == pytest.approx(np.sqrt(2) * np.std(drawn, ddof=1))
    line = next(line for line in effect.lines if line.get_color() == METHODS["cross_entropy"].colour)
    assert line.get_ydata() == pytest.approx([np.subtract(OTHER[n], ENTROPY[n]).mean() for n in (4, 16)])
    assert all(DOSE in {*np.ravel(line.get_xdata())} for line in (ax.lines[-1] for ax in figure.axes))
    assert own.get_xscale() == "log" and kept.get_ylabel() == "Neurons in common"


def test_neurons_in_common_with_another_sample_and_with_the_reference(folder: Path) -> None:
    drawn = FIGURES.load("dose")().values(Results(folder, PAPER))
    kept = drawn[drawn["shown"] == "overlap"].set_index(["method", "against", "sequences"])["value"]
    assert len(kept) == 6
    for size in (4, 16):
        one, other = "entropy", "cross_entropy"
        for name in (one, other):
            again = np.mean([overlap(folder, size, (name, 0), (name, draw)) for draw in (1, 2)])
            assert kept[name, "", size] == pytest.approx(again)
        beside = np.mean([overlap(folder, size, (one, draw), (other, draw)) for draw in range(3)])
        assert kept["cross_entropy", "entropy", size] == pytest.approx(beside)


def test_a_study_without_sizes_has_no_dose(collected: Path) -> None:
    data = Results(collected, PAPER)
    data.draws = pd.DataFrame({"outcome": ["js_distance"], "method": ["entropy"]})
    assert make_figure("dose", data).endswith("not measured")


def test_every_effect_stands_beside_the_noise_of_its_two_methods(folder: Path) -> None:
    table = make_table("noise", Results(folder, PAPER))
    numbers = table.numbers.set_index(["method", "calibrated"])
    assert {*numbers.index} == {("cross_entropy", f"{size} sequences") for size in (4, 16)}
    row = numbers.loc[("cross_entropy", "4 sequences")]
    assert row["value"] == pytest.approx(np.subtract(OTHER[4], ENTROPY[4]).mean())
    pairs = {"method": OTHER[4], "against": ENTROPY[4]}
    for side, means in pairs.items():
        changes = [a - b for a, b in permutations(means, 2)]
        # Over all pairs of samples, in both orders, the mean is zero.
        assert row[f"{side}_again"] == pytest.approx(np.sqrt(np.mean(np.square(changes))))
    assert row["overlap"] == pytest.approx(
        np.mean([overlap(folder, 4, ("entropy", draw), ("cross_entropy", draw)) for draw in range(3)])
    )
    again = np.mean([overlap(folder, 4, ("cross_entropy", 0), ("cross_entropy", draw)) for draw in (1, 2)])
    assert row["method_overlap"] == pytest.approx(again)
    texts = {column.heading: column.cells for column in table.columns}
    assert texts["Methods"] == ["Cross-entropy − Entropy"] * 2
    assert sorted(texts["Calibration"]) == ["16 sequences", "4 sequences"]
    assert f"{row['method_again']:.4f}" in texts["First, other sample"]
