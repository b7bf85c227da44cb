from itertools import product
from pathlib import Path

import pytest
import yaml

from hfprune.assets.catalogue import Catalogue, LocalSource
from hfprune.cells import Cell
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError
from hfprune.settings import load, validate
from hfprune.stages.fetch import Fetch
from hfprune.study.cells import cells, measures_of
from hfprune.study.files import criteria_of
from hfprune.study.paths import study_file
from hfprune.study.references import check_references, load_study, study_assets
from hfprune.study.study import Study

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config/studies/demo.yaml"
SMOLLM2 = "smollm2-135m-instruct-q4"
COQA = {"instructions": "coqa"}
TEXT = {"corpus": "c4-sample-heldout", "sequences": 2, "length": 16}
UNTUNED = {"recoveries": ["none"], "recovery": None}
CATALOGUE = load(Catalogue, ROOT / "config/assets.yaml")
C4 = {"corpus": "c4-sample", "sequences": 8, "length": 16}


def demo() -> dict:
    study = yaml.safe_load(DEMO.read_text()) | {"models": [SMOLLM2]}
    study["methods"] |= {"magnitude": None, "random": None}
    del study["primary"]
    return study


def changed(**changes: object) -> Study:
    study = validate(Study, demo() | changes, "study.yaml")
    check_references(study, CATALOGUE, "study.yaml")
    criteria_of(study)
    return study


def measured(name: str, **settings: object) -> dict:
    return UNTUNED | {"measures": {name: settings}}


def together(*measures: str) -> dict:
    return {"corrected_together": [[*measures]]}


def only(criterion: str, **settings: object) -> dict:
    return measured("fidelity", **TEXT) | {"methods": {"a": {"criterion": criterion, **settings}}}


def texts(**calibrations: dict) -> dict:
    return {"calibrations": calibrations}


def reading(*corpora: str) -> dict:
    return texts(**{f"c{number}": C4 | {"corpus": corpus} for number, corpus in enumerate(corpora)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratois": [0.2]}, "unknown key 'ratois'; did you mean 'ratios'"),
        ({"measures": {"size": {}}}, "measures: the suite itself uses the name 'size'"),
        (measured("cost", measure="latency"), "measures: the suite itself uses the name 'cost'"),
        ({"ratios": [1.2]}, "ratios.0: .*less than 1"),
        ({"ratios": [0.2, 0.2]}, "ratios: repeats a value"),
        ({"draws": [-1]}, "draws"),
        ({"seeds": [0]}, "the key 'seeds' is gone: write `draws`"),
        (
            {"calibration": C4},
            "the key 'calibration' is gone: write `calibrations: {NAME: {corpus: …, sequences: …}}`; every method",
        ),
        (
            texts(c4=C4 | {"resamples": 2}),
            "calibrations.c4: the key 'resamples' is gone: give `resamples` to the study",
        ),
        (only("entropy", sequences=4), "methods.a: the key 'sequences' is gone: .* give `sizes` there"),
        (
            only("entropy", corpus="code-sample"),
            "methods.a: the key 'corpus' is gone: texts are listed under `calibrations`, and every",
        ),
        (texts(), "calibrations: .*at least 1"),
        (texts(none=C4), "'none' is the dense model's calibration; choose another name"),
        ({"resamples": 1}, "resamples: one resample has no spread: give 0, or at least 2"),
        (
            texts(c4=C4, few=C4 | {"sequences": 3}) | {"resamples": 2},
            "resamples needs at least 8 sequences, one per fold, not the 3 of calibrations.few",
        ),
        ({"methods": {"dense": None}}, "'dense' is the unpruned model"),
        ({"methods": {"a/b": None}}, "methods"),
        ({"methods": {"a": {"baseline": "b", "options": {}}}}, "methods.a: a baseline or a model takes no"),
        (
            {"methods": {"a": {"model": "dense"}}},
            "methods.a: model: dense is measured anyway; add `quantised",
        ),
        ({"methods": {"a": {"model": "dense", "quantised": 6}}}, "methods.a.quantised"),
        (
            only("entropy") | {"methods": {"a": {"model": "smollm2-135m-instruct-q5"}}},
            "unknown models 'smollm2-135m-instruct-q5'; did you mean 'smollm2-135m-instruct-q4'",
        ),
        ({"methods": {"entropy": {"allocation": "globl"}}}, "methods.entropy.allocation.rule: .*global"),
        (
            {"methods": {"a": {"allocation": {"standardize": True}}}},
            "standardize belongs to the rule 'global'",
        ),
        ({"methods": {"a": {"units": "layer"}}}, "unknown kind of unit 'layer'; did you mean 'layers'"),
        (only("entropi"), "methods.a: unknown criterion 'entropi'; did you mean 'entropy'"),
        (texts(c4=C4 | {"sizes": {999: 1}}), "calibrations.c4.sizes: 1 of 999 sequences are more than the 8"),
        (reading("c4-sample", "cod-sample"), "unknown corpora 'cod-sample'; did you mean 'code-sample'"),
        (
            measured("fidelity", **TEXT) | reading("c4-sample", "c4-sample-heldout"),
            "fidelity .* that are calibrated on too",
        ),
        (
            reading("c4-sample", "general-mix")
            | measured("fidelity", **TEXT | {"corpus": "technical-sample"}),
            "fidelity is measured on documents of 'technical-sample' that are calibrated on too",
        ),
        (
            reading("stories-reading") | measured("fidelity", **TEXT | {"corpus": "stories"}),
            "fidelity is measured on documents of 'stories' that are calibrated on too",
        ),
        (
            texts(c4=C4 | {"length": 9, "continued_after": 9}),
            "calibrations.c4: .*continued_after: 9 leaves nothing to write of 9 tokens; give a smaller number",
        ),
        (
            together("fidelity", "perplexty"),
            "corrected_together: unknown 'perplexty'; did you mean 'perplexity'",
        ),
        (together("fidelity", "fidelity"), "'fidelity' stands twice"),
        (
            together("fidelity", "latency"),
            "'latency' has no outcomes of items, so it has no p-value; leave it out",
        ),
        (
            only("sleb", units="layers") | texts(c4=C4 | {"sizes": {4: 2}}),
            "methods.a: sleb searches anew for each sample; give calibrations.c4 one size with one sample, or no",
        ),
        ({"models": {"a": {"ratio": [0.2]}}}, "models.a: unknown key 'ratio'; did you mean 'ratios'"),
        ({"models": {"a": {"methods": ["entrop"]}}}, "models.a.methods: unknown 'entrop'; did you mean"),
        (
            {"models": ["smollm2-153m-instruct-q4"]},
            f"unknown models 'smollm2-153m-instruct-q4'; did you mean '{SMOLLM2}'",
        ),
        ({"recoveries": ["lora"], "recovery": None}, "recoveries lists lora: add a recovery section"),
        ({"recovery": COQA | {"rnak": 8}}, "recovery: unknown key 'rnak'; did you mean 'rank'"),
        ({"recovery": COQA | {"targets": ["q_porj"]}}, "recovery.targets.0: Input should be 'q_proj'"),
        ({"recovery": COQA | {"methods": ["entropi"]}}, "recovery.methods: unknown 'entropi'; did you mean"),
        ({"recovery": COQA | {"ratios": [0.25]}}, "recovery.ratios: 0.25 is not among the study's ratios"),
        ({"device_map": "automatic"}, "device_map: Input should be 'auto'"),
        ({"device_map": "auto"}, "device_map: lora trains on one device"),
        (only("fisher") | {"device_map": "disk"}, "methods.a: its criterion needs the whole model in memory"),
        (only("wanda", quantised=8) | {"device_map": "disk"}, "methods.a.quantised: rounded weights are new"),
        (
            {"models": {SMOLLM2: {"methods": ["entropy"], "without": ["random"]}}},
            "give `methods` or `without`, not both",
        ),
        (measured("fidelity", **TEXT, without=["randon"]), "unknown 'randon'; did you mean 'random'"),
        (measured("zeroshots"), "measures.zeroshots: unknown measure 'zeroshots'; did you mean"),
        (measured("mine", measure="latency", repeat=2), "measures.mine: latency: unknown key 'repeat'"),
        (
            measured("perplexity", corpus="c4-sample-heldout", length=9),
            "measures.perplexity: sequences: Field required",
        ),
        (measured("zeroshot", tasks=["arc_esay"]), "unknown tasks 'arc_esay'; did you mean 'arc_easy'"),
        (measured("tasks", tasks=["boolq"], shot=5), "tasks: unknown key 'shot'; did you mean 'shots'"),
        (
            measured("tasks", tasks=["boolq"], shots=-1),
            "tasks: shots: Input should be greater than or equal to 0",
        ),
    ],
)
def test_mistakes_in_a_study_name_the_key(change: dict, message: str) -> None:
    with pytest.raises(HfpruneError, match=f"^study(.yaml)?: .*{message}") as failure:
        changed(**change)
    assert "\n" not in str(failure.value)


def test_a_mixture_is_read_beside_texts_that_it_has_no_part_of() -> None:
    for text in ("c4-sample-heldout", "c4-reading", "code-reading", "stories-reading"):
        changed(**reading("general-mix"), **measured("fidelity", **TEXT | {"corpus": text}))


def test_one_value_stands_for_a_list_and_a_ratio_is_rounded_as_files_spell_it() -> None:
    one = {
        "ratios": 0.1234567,
        "draws": 3,
        "recoveries": "none",
        "methods": {"entropy": {"ratios": 0.1234567}},
    }
    study = changed(**measured("perplexity", **TEXT) | one)
    assert (study.ratios, study.draws, study.recoveries) == ([0.123457], [3], ["none"])
    assert study.methods["entropy"].ratios == [0.123457]


def test_commands_take_a_study_by_its_name() -> None:
    assert Fetch(study="demo").study.name == "demo.yaml"
    with pytest.raises(HfpruneError, match=r"no study 'demoo' in config/studies; did you mean 'demo'\?"):
        validate(Fetch, {"study": "demoo"}, "fetch")
    with pytest.raises(HfpruneError, match=r"'my study' cannot be the name of a folder"):
        study_file("my study.yaml")


def test_models_have_ratios_and_methods_of_their_own() -> None:
    own = {"a": None, "b": {"methods": ["random", "entropy"], "ratios": [0.4]}}
    names, study = (validate(Study, demo() | {"models": models}, "s") for models in (["a", "b"], own))
    assert [*names.models] == [*study.models] == ["a", "b"]
    assert (names.ratios_of("b"), study.ratios_of("a")) == ([0.2, 0.3], [0.2, 0.3])
    assert study.ratios_of("b") == [0.4]
    assert study.methods_of("a") == [*study.methods]
    assert study.methods_of("b") == ["entropy", "random"], "in the order of the study"
    pruned = {(cell.model, cell.method) for cell in cells("s", study) if cell.ratio}
    assert pruned == {(model, method) for model in "ab" for method in study.methods_of(model)}
    assert study_assets(study)[:2] == ["models/a", "models/b"]


def test_a_method_that_is_added_to_the_demo_is_in_all_that_it_measures() -> None:
    given = yaml.safe_load(DEMO.read_text())
    study = validate(Study, given | {"methods": given["methods"] | {"wanda": None}}, "s")
    assert study.recovery and study.recovery.covers("wanda", 0.2)
    assert all("wanda" in study.methods_of(model) for model in study.models)
    assert all(measure.covers("wanda", 0.2) for measure in study.measures.values())
    assert not study.measures["cost"].covers("magnitude"), "which `without` names"


@pytest.mark.parametrize(
    ("calibrated", "held_out", "disjoint"),
    [
        (None, None, False),
        ([0, 80], None, False),
        ([0, 80], [79, 113], False),
        ([0, 80], [80, 113], True),
        ([80, 113], [0, 80], True),
    ],
)
@pytest.mark.parametrize("measure", ["fidelity", "perplexity"])
def test_nothing_is_measured_on_what_was_calibrated_on(calibrated, held_out, disjoint, measure) -> None:
    data = yaml.safe_load((ROOT / "config/assets.yaml").read_text())
    data["corpora"]["c4-sample"]["documents"] = calibrated
    data["corpora"]["c4-sample-heldout"]["documents"] = held_out
    study = validate(Study, demo() | measured(measure, **TEXT), "s")
    checked = (study, validate(Catalogue, data, "c"), "s")
    if disjoint:
        check_references(*checked)
    else:
        with pytest.raises(
            HfpruneError, match=f"s: {measure} .* 'c4-sample-heldout' .* disjoint `documents`"
        ):
            check_references(*checked)


@pytest.mark.parametrize(
    ("settings", "timed"),
    [({}, [("entropy", 0.2), ("entropy", 0.3)]), ({"ratios": [0.3]}, [("entropy", 0.3)])],
)
def test_latency_is_timed_of_the_named_cells_and_the_dense_model(settings, timed) -> None:
    study = changed(**measured("latency", methods=["entropy"], **settings))
    found = [cell for cell in cells("s", study) if measures_of(study, study.make_measures(), cell)]
    assert [(cell.method, cell.ratio) for cell in found] == [("dense", 0.0), *timed]


def test_the_text_of_every_calibration_is_fetched_and_every_method_scored_on_each() -> None:
    study = changed(**reading("c4-sample", "code-sample"), **measured("fidelity", **TEXT))
    assert {"corpora/c4-sample", "corpora/code-sample"} <= {*study_assets(study)}
    assert study.calibrated(SMOLLM2, "entropy") == [("c0", 8), ("c1", 8)]
    assert study.calibrated(SMOLLM2, "magnitude") == [("c0", 0), ("c1", 0)]
    found = [cell for cell in cells("s", study) if cell.ratio == 0.2]
    assert {(cell.method, cell.calibration) for cell in found} == {*product(study.methods, ("c0", "c1"))}
    assert {cell.calibration for cell in cells("s", study) if cell.method == "dense"} == {"none"}


def test_a_search_reads_a_calibration_of_one_size_with_one_sample() -> None:
    study = changed(**only("sleb", units="layers"), **texts(c4=C4 | {"sizes": {4: 1}}))
    assert study.calibrated(SMOLLM2, "a") == [("c4", 4)]


def test_a_study_names_a_model_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text("{}")
    path, own = tmp_path / "own.yaml", {"mine": str(tmp_path / "mine"), "qwen": "Qwen/Qwen2.5-0.5B"}
    path.write_text(yaml.safe_dump(demo() | {"models": own, "measures": {}}))
    study, extended = load_study(path, CATALOGUE)
    assert study_assets(study)[:2] == ["models/mine", "models/qwen"]
    assert extended.models["mine"].source == LocalSource(provider="local", path=tmp_path / "mine")
    assert {**extended.models, **CATALOGUE.models} == extended.models
    for models, message in (
        ({"mine": "no such model"}, "'no such model' is not a folder with config.json"),
        ({SMOLLM2: str(tmp_path / "mine")}, "is in the catalogue; choose another name"),
    ):
        path.write_text(yaml.safe_dump(demo() | {"models": models, "measures": {}}))
        with pytest.raises(HfpruneError, match=f"own.yaml: models.*{message}"):
            load_study(path, CATALOGUE)


def test_a_study_names_tasks_that_lm_eval_alone_has(tmp_path: Path) -> None:
    path, tasks = (
        tmp_path / "own.yaml",
        {"tasks": ["boolq", "gsm8k", "mmlu_stem", "mmlu_humanities"], "shots": 5},
    )
    path.write_text(yaml.safe_dump(demo() | {"measures": {"tasks": tasks}}))
    study, extended = load_study(path, CATALOGUE)
    assert [name for name in study_assets(study) if name.startswith("tasks/")] == [
        f"tasks/{name}" for name in tasks["tasks"]
    ]
    assert extended.tasks.keys() - CATALOGUE.tasks.keys() == {"gsm8k", "mmlu_humanities"}
    assert extended.tasks["gsm8k"].source.provider == "lm-eval"


def test_recovered_cells_are_those_asked_for_and_the_dense_control_for_each_draw() -> None:
    both, some = {"recoveries": ["none", "lora"]}, {"methods": ["entropy"], "ratios": [0.2]}
    study = changed(**both, draws=[0, 1], recovery=COQA | some)
    found = [*cells("s", study)]
    assert len([cell for cell in found if cell.recovery == "none"]) == 1 + 6 * 2 * 2
    recovered = [cell for cell in found if cell.recovery == "lora"]
    assert recovered == [
        Cell("s", SMOLLM2, *at, draw, Recovery.LORA)
        for at in (("dense", "none", 0, 0.0), ("entropy", "c4", 32, 0.2))
        for draw in (0, 1)
    ]
    dense, control, measures = found[0], recovered[0], study.make_measures()
    assert "fidelity" not in measures_of(study, measures, dense)
    assert "fidelity" in measures_of(study, measures, control)
    everything = cells("s", changed(**both, recovery=COQA))
    assert len([cell for cell in everything if cell.recovery == "lora"]) == 1 + 6 * 2


def test_recovery_defaults_are_the_official_ones() -> None:
    lora = changed(recovery=COQA).recovery
    assert (lora.rank, lora.alpha, lora.dropout, len(lora.targets)) == (32, 64, 0.05, 7)
    assert (lora.learning_rate, lora.schedule, lora.warmup_steps, lora.weight_decay) == (4e-4, "cosine", 0, 0)
    assert (lora.batch, lora.length, lora.epochs, lora.max_steps) == (128, 1024, 2, None)
    assert lora.packing == "isolated"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read it"),
        (b"a: [1", "not valid YAML"),
        ("description: Größe".encode("latin-1"), "not valid YAML"),
        (b"size:\n  rank: 4\n  rank: 8\n", "not valid YAML: 'rank' is there twice.*line 3"),
    ],
)
def test_unreadable_files_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content:
        (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(HfpruneError, match=rf"bad\.yaml: {message}"):
        load(Study, tmp_path / "bad.yaml")
