"""Figures: every file, the same bytes each time, the right numbers, and no failure on a part of a study."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import failure, run
from committed import EACH_STUDY, committed, results_of
from drawings import figure_of
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from scipy.stats import t
from synthetic import PAPER, Study, analysed

from hfprune.cells import DENSE, Value
from hfprune.errors import HfpruneError
from hfprune.paper.printed import read_tables
from hfprune.report import charts
from hfprune.report.drawing.figure_files import read_style, write_figures
from hfprune.report.drawing.marks import GREY
from hfprune.report.effects import beside_reference
from hfprune.report.looks import looks_of
from hfprune.report.publication import publication_names
from hfprune.report.style import recovery_label
from hfprune.report.table_files import write_tables
from hfprune.results.averages import with_averages
from hfprune.results.reader import Results

ROOT = Path(__file__).parents[2]
FORMATS = ("pdf", "svg", "png")
NAMES = publication_names("figures")
SMOLLM2 = "smollm2-135m-instruct-q4"


def text_of(svg: Path) -> str:
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text()))


def points(ax) -> dict[str, np.ndarray]:
    """Return colour → the points drawn with markers."""
    return {line.get_color(): line.get_xydata() for line in ax.get_lines() if line.get_marker() != "None"}


@pytest.fixture(scope="session")
def written(collected: Path) -> Path:
    write_figures(collected, PAPER, collected / "figures")
    return collected / "figures"


def test_every_figure_in_three_formats_with_the_same_bytes_whatever_a_user_has_set(
    written: Path, collected: Path, tmp_path: Path
) -> None:
    with style.context({"font.size": 20, "axes.facecolor": "red"}):
        write_figures(collected, PAPER, tmp_path)
    names = sorted(path.name for path in written.iterdir())
    # Those commands have not run, or nothing was measured for it.
    absent = {"claims", "effects", "measures", "learning", "distributions", "tradeoff"}
    absent |= {"dose", "answer", "answers"}
    assert names == sorted(f"{name}.{suffix}" for name in {*NAMES} - absent for suffix in FORMATS)
    for name in names:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes(), name


def test_what_was_not_kept_is_named_and_files_of_earlier_calls_stay(collected: Path, tmp_path: Path) -> None:
    for name in ("results.csv", "records.parquet", "study.yaml"):
        shutil.copy(collected / name, tmp_path)
    out = tmp_path / "figures"
    out.mkdir()
    (out / "answers.svg").write_text("of a run with all tables")
    absent = write_figures(tmp_path, PAPER, out, formats=["svg"])
    assert absent["answers"] == f"{tmp_path} has no answers.csv"
    assert absent["measures"] == "Other measures: not measured" and "fidelity" not in absent
    assert {path.stem for path in out.iterdir()} == {*NAMES} - absent.keys() | {"answers"}
    assert (out / "answers.svg").read_text() == "of a run with all tables"
    with pytest.raises(HfpruneError, match=r"no answers\.csv, which the figure answers needs"):
        write_figures(tmp_path, PAPER, out, only=["answers"])


NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@pytest.mark.parametrize("study", EACH_STUDY)
def test_tables_in_git_are_what_the_code_makes(study: str, tmp_path: Path) -> None:
    """The demo's, and those that the findings show; the others are only written."""
    folder = results_of(study)
    write_tables(folder, PAPER, tmp_path)
    assert len([*tmp_path.iterdir()]) > 10
    kept = sorted((folder / "tables").glob("*"))
    assert (len(kept) > 10) == (study == "demo")
    assert [path.name for path in kept if not (tmp_path / path.name).exists()] == [], "nobody writes them"
    for path in kept:
        assert alike(path.read_text(), (tmp_path / path.name).read_text()), path


def alike(kept: str, made: str) -> bool:
    """Tell whether texts differ in nothing but the last of eight digits, which processors round differently."""
    if NUMBER.sub("0", kept) != NUMBER.sub("0", made):
        return False
    numbers = (map(float, NUMBER.findall(text)) for text in (kept, made))
    return all(a == pytest.approx(b, rel=1e-6, abs=0) for a, b in zip(*numbers, strict=True))


def test_figures_in_git_are_those_of_the_tables_in_git(tmp_path: Path) -> None:
    """Of the demo; those of other studies are made by a command."""
    kept = sorted((committed() / "figures/demo").glob("*.svg"))
    assert kept
    only = [path.stem for path in kept]
    # A run of the workflow writes a sentence in place of a figure that cannot be drawn.
    write_figures(results_of("demo"), PAPER, tmp_path, only=only, formats=["svg"], complete=True)
    for path in kept:
        # Not the bytes, since another matplotlib may round elsewhere.
        assert text_of(path) == text_of(tmp_path / path.name)


def test_a_style_goes_over_ours_and_parts_can_be_asked_for(
    collected: Path, written: Path, tmp_path: Path
) -> None:
    only = ["tasks", "accuracy"]
    mine = tmp_path / "mine.mplstyle"
    mine.write_text("figure.figsize: 5.5, 4\nfont.family: serif  # as the text\n\n")
    write_figures(collected, PAPER, tmp_path / "own", only, ["svg"], own_style=mine)
    ours, own = ((folder / "tasks.svg").read_text() for folder in (written, tmp_path / "own"))
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', own)
    assert float(size[1]) / 72 == pytest.approx(5.5, abs=0.01) and float(size[2]) / 72 <= 4
    assert "serif" in own and "serif" not in ours and "'DejaVu Sans'" not in own
    parts = {"method": ["magnitude"], "ratio": [0.3]}
    write_figures(collected, PAPER, tmp_path / "part", only, ["svg"], parts=parts)
    said = text_of(tmp_path / "part/tasks.svg")
    assert "30 % removed" in said and "Magnitude" in said
    assert "20 % removed" not in said and "Cross-entropy" not in said
    with pytest.raises(HfpruneError, match=r"no method 'randum' in this study; it has .*magnitude"):
        write_figures(collected, PAPER, tmp_path, only, ["svg"], parts={"method": ["randum"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("font.sise: 9", "line 1: matplotlib has no setting 'font.sise'; did you mean 'font.size'"),
        ("\n9", "line 2: matplotlib has no setting '9'$"),
        ("font.size: large9", "Key font.size"),
        ("text.usetex: True", "text.usetex is not supported"),
        (b"\x89PNG\xff", "not a style file"),
        (None, "cannot read it: No such file"),
    ],
)
def test_mistakes_in_a_style_are_one_line(text: str | bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.mplstyle"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(HfpruneError, match=message) as error:
        read_style(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_the_best_is_on_top_better_is_shaded_and_far_values_are_numbers_at_the_edge() -> None:
    data = Results(results_of("demo"), PAPER)
    chosen = data.effects[(data.effects["model"] == SMOLLM2) & (data.effects["ratio"] == 0.2)]
    axes: dict[str, Axes] = {}
    for ax in figure_of("effects", data, effects=chosen).axes:
        # The first row of panels, of the model that has been measured.
        axes.setdefault(re.sub(r"\s", " ", ax.get_xlabel()), ax)
    effects = beside_reference(data).merge(chosen)
    outcomes = "js_distance", "perplexity_ratio"
    rows, perplexities = (effects[effects["outcome"] == name] for name in outcomes)
    assert rows["value"].is_monotonic_increasing
    labels = [label.get_text() for label in axes["Overlap"].get_yticklabels()]
    assert labels == [looks_of(data)[method].label for method in rows["method"]]
    ratio = axes["Perplexity ratio ↓"]
    assert ratio.get_xscale() == "log"
    # With their intervals, and their points at the edge.
    assert labels[-2:] == ["Random", "Magnitude"]
    expected = ["110 (0.0055 to 2,200k) →", "23k (6,700 to 900k) →"]
    assert [text.get_text() for text in ratio.texts if "→" in text.get_text()] == expected
    low, high = ratio.get_xlim()
    assert sum(line.get_xdata()[0] == high for line in ratio.get_lines()) == 2
    near = perplexities[perplexities["value"] < 10]
    assert low < near["low"].min() and near["high"].max() < high
    shades = [
        part.get_paths()[0].get_extents() for part in ratio.collections if isinstance(part, PolyCollection)
    ]
    known = np.flatnonzero(perplexities["low"].notna())
    assert sorted((shade.y0, shade.y1) for shade in shades) == [(at - 0.5, at + 0.5) for at in known]
    assert {(shade.x0, shade.x1) for shade in shades} == {(low, 1)}


def test_a_tie_is_a_tie_and_what_was_not_measured_is_no_empty_panel() -> None:
    data, tie = Results(results_of("demo"), PAPER), dict.fromkeys(("value", "low", "high"), -5e-16)
    claims = data.claims[data.claims["value"].notna()].assign(**tie, published=np.nan, threshold=0.0)
    for ax in figure_of("claims", data, claims=claims).axes:
        assert not ax.axison or ax.get_xlim() == pytest.approx((-0.1, 0.1))
    axes = figure_of("effects", data).axes
    silent = [ax.texts[0].get_text().replace("\n", " ") for ax in axes if not ax.axison]
    assert [*filter(None, silent)] == [
        "Δ bits per byte (bits/byte), SmolLM2 135M, 30 % removed: not measured"
    ]
    assert all(points(ax) for ax in axes if ax.axison)


def test_the_majority_answer_stands_beside_the_accuracies() -> None:
    data = Results(results_of("demo"), PAPER)
    commonest = [int(text.get_text().rstrip("*")) for text in figure_of("answers", data).axes[0].texts[:3]]
    lines = [line for ax in figure_of("accuracy", data).axes[:1] for line in ax.get_lines()]
    (majority,) = [line.get_xdata()[0] for line in lines if line.get_linestyle() == "-."]
    assert majority == pytest.approx((commonest[2] + 3 * 25 + 100 / 3 + 2 * 50) / 7, abs=0.1), "of BoolQ"


def test_the_width_of_a_column_is_an_option(tmp_path: Path) -> None:
    where = "figures", "--results", results_of("demo"), "--format", "svg", "--out", tmp_path
    run(*where, "--only", "answer", "--width", "3.3")
    size = re.search(r'width="([\d.]+)pt"', (tmp_path / "answer.svg").read_text())
    assert float(size[1]) / 72 == pytest.approx(3.3, abs=0.01)
    tall = "figures", "--results", results_of("table7"), "--format", "svg", "--out", tmp_path / "tall"
    run(*tall, "--only", "answer", "--width", "3.3")
    assert not (tmp_path / "tall/answer.svg").exists(), "taller than a page, so that it is refused"
    assert "3" in failure(*where, "--width", "1")


def test_files_are_fit_for_a_paper(written: Path) -> None:
    pdf, svg = (written / "accuracy.pdf").read_bytes(), (written / "accuracy.svg").read_text()
    assert b"/Type0" in pdf and b"/Type3" not in pdf  # embedded TrueType, which editors of journals ask for
    assert b"CreationDate" not in pdf and "<dc:date>" not in svg
    assert "Cross-entropy" in text_of(written / "accuracy.svg")


def test_accuracy_shows_the_averages_in_percent_side_by_side_whatever_the_order_of_the_rows(
    collected: Path,
) -> None:
    data = Results(collected, PAPER)
    (ax,) = figure_of("accuracy", data, results=data.results.iloc[::-1]).axes
    averages = with_averages(data.results).query("task == 'average'").set_index(["method", "ratio"])
    drawn = points(ax)[looks_of(data)["magnitude"].colour]
    assert drawn[:, 1] == pytest.approx(100 * averages.loc["magnitude", "value"].to_numpy())
    # Side by side, in the category of its ratio.
    assert [round(x) for x in drawn[:, 0]] == [0, 1]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["20", "30"]
    xs = sorted(marks[0, 0] for marks in points(ax).values())
    assert len(xs) == 3 and min(np.diff(xs)) >= 0.05 and np.mean(xs) == pytest.approx(0)
    guesses = [
        line.get_ydata()[0]
        for line in ax.get_lines()
        if (line.get_color(), line.get_linestyle()) == (GREY, "-")
    ]
    assert guesses == pytest.approx([100 * (3 * 0.25 + 1 / 3 + 3 * 0.5) / 7])
    levels = [line.get_ydata()[0] for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert levels == pytest.approx([100 * averages.loc[(DENSE, 0.0), "value"]])
    (bars,) = [bars.get_segments() for bars in ax.collections if to_hex(bars.get_color()[0]) == "#0072b2"]
    first = averages.loc[("entropy", 0.2)]
    half = 100 * t.ppf(0.975, first["n"] - 1) * first["stderr"]
    assert bars[0][1][1] - bars[0][0][1] == pytest.approx(2 * half)


def test_every_ratio_is_shown_where_only_some_are_recovered(collected: Path) -> None:
    data = Results(collected, PAPER)
    recovered = data.levels[data.levels["ratio"].isin([0.0, 0.2])].assign(recovery="lora")
    everything = pd.concat([data.levels.assign(recovery="none"), recovered])
    upper, lower = figure_of("accuracy", data, levels=everything).axes
    assert [label.get_text() for label in upper.get_xticklabels()] == ["20", "30"]
    assert upper.get_xlim() == (-0.5, 1.5)
    # At one ratio, no line leads anywhere: methods stand one below the other, the best on top.
    assert lower.get_xlabel() == "Average of 7 tasks (%)\N{NO-BREAK SPACE}↑"
    averages = recovered.query("task == 'average' and method != @DENSE").drop_duplicates("method")
    means = averages.sort_values("value", ascending=False).set_index("method")["value"]
    labels = [looks_of(data)[method].label for method in means.index]
    assert [label.get_text() for label in lower.get_yticklabels()] == labels
    drawn = points(lower)
    found = [float(drawn[looks_of(data)[method].colour][0, 0]) for method in means.index]
    assert found == pytest.approx([*(100 * means)])
    names = [text.get_text().replace("\n", " ") for ax in upper.figure.axes for text in ax.texts]
    assert names == ["tiny-llama, no recovery", "tiny-llama, LoRA, 20 % removed"]


def test_recoveries_of_a_model_have_one_axis_and_other_models_their_own(collected: Path) -> None:
    data = Results(collected, PAPER)
    parts = []
    for model, recovery, off in (("a", "none", 0.0), ("a", "lora", 0.2), ("b", "none", 0.1)):
        part = data.levels.assign(model=model, recovery=recovery)
        for number in ("value", "low", "high"):
            part[number] += off * (part["measure"] == "zeroshot")
        parts.append(part)
    first, second, other = figure_of("accuracy", data, levels=pd.concat(parts)).axes
    assert first.get_ylim() == second.get_ylim() != other.get_ylim()
    low, high = first.get_ylim()
    drawn = [y for ax in (first, second) for marks in points(ax).values() for _, y in marks]
    assert low < min(drawn) < max(drawn) < high


def test_a_dense_model_alone_has_no_facet_and_a_single_recovery_is_named(collected: Path) -> None:
    data = Results(collected, PAPER)
    dense = data.levels[data.levels["method"] == DENSE].assign(recovery="none")
    figure = figure_of("accuracy", data, levels=pd.concat([dense, data.levels.assign(recovery="lora")]))
    assert len(figure.axes) == 1
    assert "After LoRA" in figure.legends[0].get_title().get_text()


def test_accuracy_shows_published_averages_as_crosses(study: Study) -> None:
    """LLaMA-2-7B, dense and pruned at 20 %, one point above what Tables 1 and 6 print."""
    numbers = read_tables(PAPER).query("model == 'LLaMA-2-7B' and table in [1, 6] and metric != 'average'")
    for cell in numbers.query("method in ['dense', 'entropy'] and ratio < 0.3").itertuples():
        value = Value(cell.metric, cell.value / 100 + 0.01, 0.005, 100)
        where = {"model": "llama-2-7b", "recovery": cell.recovery}
        study.result(cell.method, cell.ratio, "zeroshot", cell.task, value, **where)
    axes = figure_of("accuracy", Results(study.collect(), PAPER)).axes
    crosses = [[line for line in ax.get_lines() if line.get_marker() == "x"] for ax in axes]
    # Published at 20 %: entropy untuned, cross-entropy and distillation (Table 6); tuned, Table 1 without the
    # average of LoRAP, which has none.
    expected = [[51.9, 52.6, 53.1], [56.1, 56.7, 58.2, 59.0]]
    assert [sorted(x for line in own for x in line.get_xdata()) for own in crosses] == expected


def test_tasks_has_a_facet_per_ratio_and_the_papers_names(collected: Path) -> None:
    axes = figure_of("tasks", Results(collected, PAPER)).axes
    names = [f"tiny-llama, {share} % removed" for share in (20, 30)]
    assert [ax.texts[0].get_text() for ax in axes] == names
    names = ["ARCc", "ARCe", "BoolQ", "OBQA", "PIQA", "SiQA", "Wino"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == names


def test_a_constant_answer_shows_beside_the_commonest_right_one_and_wins_no_average(
    study: Study, tmp_path: Path
) -> None:
    given = {DENSE: [0, 1, 1, 0], "entropy": [1, 1, 1, 1], "random": [0, 1, 1, 1]}
    for method, answers in given.items():
        right = [float(answer == true) for answer, true in zip(answers, (0, 1, 1, 1), strict=True)]
        likelihoods = [[-1.0, -2.0] if answer == 0 else [-2.0, -1.0] for answer in answers]
        rows = {"item": range(4), "target": [*"0111"], "loglikelihood": likelihoods, "acc": right}
        ratio, value = 0.2 * (method != DENSE), Value("acc", sum(right) / 4, 0.2, 4)
        study.result(method, ratio, "zeroshot", "boolq", value, items=pd.DataFrame(rows))
        study.result(method, ratio, "zeroshot", "piqa", Value("acc", 0.5 + ratio, 0.1, 9))
        crows = Value("pct_stereotype", 0.6, 0.1, 9)
        study.result(method, ratio, "zeroshot", "crows_pairs_english", crows)
    for task in ("boolq", "piqa"):  # of another model without items
        study.result(DENSE, 0.0, "zeroshot", task, Value("acc", 0.8, 0.1, 9), model="other")
    analysed(study.collect())
    data = Results(study.folder, PAPER)
    (ax,) = figure_of("answers", data).axes
    rows = zip(ax.get_yticklabels(), ax.texts[:-1], strict=True)  # the last is the heading
    shown = {label.get_text(): text.get_text() for label, text in rows}
    assert shown == {"Commonest right answer": "75", "Dense": "50", "Entropy": "100*", "Random": "75"}
    write_tables(data.folder, PAPER, tmp_path)
    table = pd.read_csv(tmp_path / "table6.csv").query("source == 'ours' and model == 'tiny-llama'")
    columns = ["boolq", "boolq, balanced", "average", "average without CrowS", "average without constant"]
    expected = {
        DENSE: (75, 83.333333, 61.666667, 62.5, 55),
        "guess": (50, 50, 50, 50, 50),
        "majority answer": (75, 50, 58.333333, 62.5, 50),
        "entropy": (75, 50, 68.333333, 72.5, 65),
        "random": (100, 100, 76.666667, 85, 65),
    }
    found = table.set_index("method")[columns].T.to_dict("list")
    assert {name: tuple(map(round, numbers, [6] * 5)) for name, numbers in found.items()} == expected
    assert "over 90 % of the questions: BoolQ of tiny-llama" in (tmp_path / "table6.md").read_text()
    assert "Guess" not in (tmp_path / "table4.md").read_text()


def test_the_dense_model_stands_beside_weights_that_are_solved_again() -> None:
    """They leave it as it is; trained adapters do not, so each kind of recovery has its own."""
    beside = {"none": "none", "linear": "none", "lora": "lora", "linear+lora": "lora"}
    rows = [(DENSE, "none"), (DENSE, "lora"), *(("entropy", recovery) for recovery in beside)]
    values = pd.DataFrame(rows, columns=["method", "recovery"]).assign(model="m")
    facets = charts.facets(values).items()
    dense = {name: facet.query("method == @DENSE")["recovery"].tolist() for name, facet in facets}
    assert dense == {f"m, {recovery_label(name)}": [own] for name, own in beside.items()}


def test_distributions_shows_probabilities_and_both_derivatives(tmp_path: Path) -> None:
    seen = {
        **{"level": 0.5, "entropy": 1.25, "context": "costs $", "rank": [1, 2], "token": ["$5", "\n 视"]},
        **{"is_target": [False, True], "probability": [0.75, 0.25]},
        **{"cross_entropy_gradient": [0.75, -0.75], "entropy_gradient": [-0.2, 0.2]},
    }
    more = {"distributions": {"corpus": "text", "sequences": 1, "length": 8}}
    study = Study(tmp_path, more=more)
    study.result(DENSE, 0.0, "distributions", "text", Value("entropy", 1.5), items=pd.DataFrame(seen))
    figure = figure_of("distributions", Results(study.collect(), PAPER))
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == [0.75, 0.25]
    drawn = [line.get_xdata().tolist() for line in ax.get_lines()[:2]]
    assert drawn == [seen["cross_entropy_gradient"], seen["entropy_gradient"]]
    assert [label.get_fontweight() for label in ax.get_yticklabels()] == ["normal", "bold"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [r"\$5", "⏎␣U+89C6"]
    figure.savefig(tmp_path / "drawn.png")


def test_figures_without_data_are_sentences_only_where_all_files_are_wanted(study: Study) -> None:
    folder = study.collect()
    absent = write_figures(folder, PAPER, folder / "figures")
    assert absent.keys() == {*NAMES} and not (folder / "figures").exists()
    before = {"answer", "answers", "claims", "dose", "effects"}  # those commands have not run
    assert all("not measured" in absent[name] for name in {*NAMES} - before)
    write_figures(folder, PAPER, folder / "figures", complete=True)
    assert len([*(folder / "figures").iterdir()]) == 3 * (len(NAMES) - len(before))
    assert text_of(folder / "figures/accuracy.svg") == "Zero-shot accuracy: not measured"


def test_one_ratio_several_draws_and_unknown_tasks_can_be_drawn(tmp_path: Path) -> None:
    study = Study(tmp_path, ratios=[0.2], draws=[0, 1], tasks={"my_task": 0.5}, layers=2, neurons=16)
    write_figures(study.write().collect(), PAPER, tmp_path / "figures", formats=["svg"])
    assert "95 % intervals over draws and items" in text_of(tmp_path / "figures" / "accuracy.svg")
    assert "my_task" in text_of(tmp_path / "figures" / "tasks.svg")
