from pathlib import Path

import pytest
import yaml

from hfprune.assets.catalogue import Catalogue, LocalSource
from hfprune.errors import HfpruneError
from hfprune.results import Cell
from hfprune.settings import load, validate
from hfprune.stages.fetch import Fetch
from hfprune.study.layout import cells, measures_of, study_file
from hfprune.study.references import check_references, load_study, study_assets
from hfprune.study.study import Config, Study

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config/studies/demo.yaml"
COQA = {"instructions": "coqa"}
TEXT = {"corpus": "c4-sample-heldout", "sequences": 2, "length": 16}
UNTUNED = {"recoveries": ["none"], "recovery": None}


def demo() -> dict:
    """Return the demo study on one model and at all ratios, without the primary outcome, for tests to change."""
    study = yaml.safe_load(DEMO.read_text()) | {"models": ["smollm2-135m-instruct-q4"]}
    study["methods"] |= {"magnitude": None, "random": None}
    del study["primary"]
    return study


def test_shipped_configuration_is_valid() -> None:
    load(Config, ROOT / "config/config.yaml")
    catalogue = load(Catalogue, ROOT / "config/assets.yaml")
    studies = list((ROOT / "config/studies").glob("*.yaml"))
    assert DEMO in studies
    for path in studies:
        check_references(load(Study, path), catalogue, str(path))


def test_demo_is_the_study_of_the_readme() -> None:
    study = load(Study, DEMO)
    pruned = ["entropy", "cross_entropy", "distillation", "entropy_attention", "magnitude", "random"]
    assert list(study.methods) == pruned
    assert study.ratios == [0.2, 0.3]
    assert "models/smollm2-135m-instruct-q4" in study_assets(study)
    assert len([asset for asset in study_assets(study) if asset.startswith("tasks/")]) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratois": [0.2]}, "unknown key 'ratois'; did you mean 'ratios'"),
        ({"measures": {"size": {}}}, "measures: the suite itself uses the name 'size'"),
        ({"measures": {"cost": {"measure": "latency"}}}, "measures: the suite itself uses the name 'cost'"),
        ({"ratios": [1.2]}, "ratios.0: .*less than 1"),
        ({"ratios": [0.2, 0.2]}, "ratios: repeats a value"),
        ({"methods": {"dense": None}}, "'dense' is the unpruned model"),
        ({"methods": {"a/b": None}}, "methods"),
        (
            {"methods": {"a": {"baseline": "b", "options": {"c": 1}}}},
            "methods.a: a baseline takes no criterion",
        ),
        ({"methods": {"entropy": {"allocation": "globl"}}}, "methods.entropy.allocation.rule: .*global"),
        (
            {"methods": {"entropy": {"allocation": {"standardize": True}}}},
            "standardize belongs to the rule 'global'",
        ),
        ({"methods": {"entropy": {"units": "layer"}}}, "unknown kind of unit 'layer'; did you mean 'layers'"),
        (
            {"corrected_together": [["fidelity", "perplexty"]]},
            "corrected_together: unknown 'perplexty'; did you mean 'perplexity'",
        ),
        ({"corrected_together": [["fidelity", "fidelity"]]}, "'fidelity' stands twice"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"ratios": [1e-5]}, "ratios"),
        (
            {
                "methods": {"entropy": {"sequences": 999}},
                "measures": {},
                "recovery": None,
                "recoveries": ["none"],
            },
            "methods.entropy.sequences: 999 is more than",
        ),
        ({"models": ["a", "a"]}, "models: repeats a value"),
        ({"models": {"a": {"ratio": [0.2]}}}, "models.a: unknown key 'ratio'; did you mean 'ratios'"),
        ({"models": {"a": {"ratios": [0.2, 0.2]}}}, "models.a.ratios: repeats a value"),
        ({"models": {"a": {"ratios": []}}}, "models.a.ratios"),
        ({"models": [1]}, "models"),
        ({"recoveries": ["lora"], "recovery": None}, "recoveries lists lora: add a recovery section"),
        ({"recovery": {}}, "recovery.instructions: Field required"),
        ({"recovery": COQA | {"rnak": 8}}, "recovery: unknown key 'rnak'; did you mean 'rank'"),
        ({"recovery": COQA | {"targets": ["q_porj"]}}, "recovery.targets.0: Input should be 'q_proj'"),
        ({"recovery": COQA | {"methods": ["entropi"]}}, "unknown 'entropi'; did you mean 'entropy'"),
        ({"device_map": "automatic"}, "device_map: Input should be 'auto'"),
        ({"device_map": "auto"}, "device_map: lora trains on one device"),
        ({"measures": {"cost": {"ratios": [0.25]}}}, "measures.cost.ratios: 0.25 is not among the study's"),
        ({"recovery": COQA | {"ratios": [0.25]}}, "recovery.ratios: 0.25 is not among the study's ratios"),
    ],
)
def test_mistakes_in_a_study_name_the_key(change: dict, message: str) -> None:
    with pytest.raises(HfpruneError, match=f"^study.yaml: .*{message}") as failure:
        validate(Study, demo() | change, "study.yaml")
    assert "\n" not in str(failure.value)


def test_one_value_stands_for_a_list_of_it() -> None:
    one = {"ratios": 0.1, "seeds": 3, "recoveries": "none", "methods": {"entropy": {"ratios": 0.1}}}
    study = validate(Study, demo() | UNTUNED | {"measures": {"perplexity": TEXT}} | one, "s")
    assert (study.ratios, study.seeds, study.recoveries) == ([0.1], [3], ["none"])
    assert study.methods["entropy"].ratios == [0.1]


def test_commands_take_a_study_by_its_name() -> None:
    assert Fetch(study="demo").study.name == "demo.yaml"
    with pytest.raises(HfpruneError, match=r"no study 'demoo' in config/studies; did you mean 'demo'\?"):
        validate(Fetch, {"study": "demoo"}, "fetch")
    with pytest.raises(HfpruneError, match=r"'my study' cannot be the name of a folder"):
        study_file("my study.yaml")


def test_a_model_may_be_pruned_by_some_of_the_methods() -> None:
    some = {"a": None, "b": {"methods": ["random", "entropy"]}}
    study = validate(Study, demo() | {"models": some}, "s")
    assert study.methods_of("a") == [*study.methods]
    assert study.methods_of("b") == ["entropy", "random"], "in the order of the study"
    pruned = {(cell.model, cell.method) for cell in cells("s", study) if cell.ratio}
    assert pruned == {(model, method) for model in "ab" for method in study.methods_of(model)}
    with pytest.raises(HfpruneError, match=r"models\.b\.methods: unknown 'entrop'; did you mean 'entropy'"):
        validate(Study, demo() | {"models": {"b": {"methods": ["entrop"]}}}, "s")


def test_models_are_names_or_names_with_ratios_of_their_own() -> None:
    names = validate(Study, demo() | {"models": ["a", "b"]}, "s")
    mapping = validate(Study, demo() | {"models": {"a": None, "b": {"ratios": [0.4]}}}, "s")
    assert [*names.models] == [*mapping.models] == ["a", "b"]
    assert (names.ratios_of("b"), mapping.ratios_of("a"), mapping.ratios_of("b")) == (
        [0.2, 0.3],
        [0.2, 0.3],
        [0.4],
    )
    assert study_assets(mapping)[:2] == ["models/a", "models/b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": {"zeroshots": {}}}, "s: measures.zeroshots: unknown measure 'zeroshots'; did you mean"),
        (
            {"measures": {"mine": {"measure": "latency", "repeat": 2}}},
            "s: measures.mine: unknown key 'repeat'; did you mean 'repeats'",
        ),
        (
            {"measures": {"perplexity": {"corpus": "c4-sample-heldout", "length": 9}}},
            "s: measures.perplexity: sequences: Field required",
        ),
        (
            {"models": ["smollm2-153m-instruct-q4"]},
            "unknown models 'smollm2-153m-instruct-q4'; did you mean 'smollm2-135m-instruct-q4'",
        ),
        (
            {"measures": {"zeroshot": {"tasks": ["arc_esay"]}}},
            "unknown tasks 'arc_esay'; did you mean 'arc_easy'",
        ),
        (
            {"corrected_together": [["fidelity", "latency"]]},
            "s: corrected_together: 'latency' has no outcomes of items, so it has no p-value; leave it out",
        ),
        (
            {"measures": {"fidelity": {"corpus": "a/b", "sequences": 4, "length": 32}}},
            "unknown corpora 'a/b'",
        ),
        (
            {"recoveries": ["none", "lora"], "recovery": {"instructions": "coqua"}},
            "unknown instructions 'coqua'; did you mean 'coqa'",
        ),
    ],
)
def test_unknown_asset_names_the_nearest(change: dict, message: str) -> None:
    catalogue = load(Catalogue, ROOT / "config/assets.yaml")
    with pytest.raises(HfpruneError, match=message):
        check_references(validate(Study, demo() | change, "s"), catalogue, "s")


@pytest.mark.parametrize(
    ("calibrated", "measured", "disjoint"),
    [
        (None, None, False),
        ([0, 80], None, False),
        ([0, 80], [79, 113], False),
        ([0, 80], [80, 113], True),
        ([80, 113], [0, 80], True),
    ],
)
@pytest.mark.parametrize("measure", ["fidelity", "perplexity"])
def test_nothing_is_measured_on_what_was_calibrated_on(calibrated, measured, disjoint, measure) -> None:
    data = yaml.safe_load((ROOT / "config/assets.yaml").read_text())
    data["corpora"]["c4-sample"]["documents"] = calibrated
    data["corpora"]["c4-sample-heldout"]["documents"] = measured
    study = demo()
    study["measures"] = {measure: {"corpus": "c4-sample-heldout", "sequences": 4, "length": 32}}
    checked = (validate(Study, study, "s"), validate(Catalogue, data, "c"), "s")
    if disjoint:
        check_references(*checked)
    else:
        with pytest.raises(
            HfpruneError, match=f"s: {measure} .* 'c4-sample-heldout' .* disjoint `documents`"
        ):
            check_references(*checked)


def test_latency_is_timed_of_the_named_methods_and_the_dense_model() -> None:
    measures = {"latency": {"methods": ["entropy"]}}
    study = validate(Study, demo() | {"measures": measures, "recoveries": ["none"], "recovery": None}, "s")
    timed = [cell.method for cell in cells("s", study) if measures_of(study, study.make_measures(), cell)]
    assert timed == ["dense", "entropy", "entropy"]
    measures["latency"]["ratios"] = [0.3]
    study = validate(Study, demo() | {"measures": measures, "recoveries": ["none"], "recovery": None}, "s")
    timed = [cell for cell in cells("s", study) if measures_of(study, study.make_measures(), cell)]
    assert [(cell.method, cell.ratio) for cell in timed] == [("dense", 0.0), ("entropy", 0.3)]
    measures["latency"]["methods"] = ["entrpy"]
    with pytest.raises(
        HfpruneError, match=r"measures.latency.methods: unknown 'entrpy'; did you mean 'entropy'"
    ):
        validate(Study, demo() | {"measures": measures}, "s")


def test_a_methods_own_corpus_is_fetched_and_nothing_is_measured_on_it() -> None:
    catalogue = load(Catalogue, ROOT / "config/assets.yaml")
    methods = {"entropy": None, "entropy_code": {"criterion": "entropy", "corpus": "code-sample"}}
    measures = {"fidelity": demo()["measures"]["fidelity"]}
    study = demo() | {"methods": methods, "measures": measures, "recoveries": ["none"], "recovery": None}
    checked = validate(Study, study, "s")
    check_references(checked, catalogue, "s")
    assert [checked.corpus_of(method) for method in methods] == ["c4-sample", "code-sample"]
    assert "corpora/code-sample" in study_assets(checked)
    methods["entropy_code"]["corpus"] = "c4-sample-heldout"
    with pytest.raises(HfpruneError, match=r"fidelity .* 'c4-sample-heldout' that are calibrated on too"):
        check_references(validate(Study, study, "s"), catalogue, "s")
    methods["entropy_code"]["corpus"] = "cod-sample"
    with pytest.raises(HfpruneError, match="unknown corpora 'cod-sample'; did you mean 'code-sample'"):
        check_references(validate(Study, study, "s"), catalogue, "s")


def test_a_study_names_a_model_of_ones_own(tmp_path: Path) -> None:
    catalogue = load(Catalogue, ROOT / "config/assets.yaml")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text("{}")
    path, own = tmp_path / "own.yaml", {"mine": str(tmp_path / "mine"), "qwen": "Qwen/Qwen2.5-0.5B"}
    path.write_text(yaml.safe_dump(demo() | {"models": own, "measures": {}}))
    study, extended = load_study(path, catalogue)
    assert study_assets(study)[:2] == ["models/mine", "models/qwen"]
    assert extended.models["mine"].source == LocalSource(provider="local", path=tmp_path / "mine")
    assert {**extended.models, **catalogue.models} == extended.models
    for models, message in (
        ({"mine": "no such model"}, "'no such model' is not a folder with config.json"),
        ({"smollm2-135m-instruct-q4": str(tmp_path / "mine")}, "is in the catalogue; choose another name"),
    ):
        path.write_text(yaml.safe_dump(demo() | {"models": models, "measures": {}}))
        with pytest.raises(HfpruneError, match=f"own.yaml: models.*{message}"):
            load_study(path, catalogue)


def test_recovered_cells_are_those_asked_for_and_the_dense_control_for_each_seed() -> None:
    change = {"recoveries": ["none", "lora"], "seeds": [0, 1],
              "recovery": COQA | {"methods": ["entropy"], "ratios": [0.2]}}  # fmt: skip
    study = validate(Study, demo() | change, "s")
    found = [*cells("s", study)]
    assert len([cell for cell in found if cell.recovery == "none"]) == 1 + 6 * 2 * 2
    recovered = [cell for cell in found if cell.recovery == "lora"]
    model = "smollm2-135m-instruct-q4"
    assert recovered == [
        *(Cell("s", model, "dense", 0.0, seed, "lora") for seed in (0, 1)),
        *(Cell("s", model, "entropy", 0.2, seed, "lora") for seed in (0, 1)),
    ]
    dense, control, measures = found[0], recovered[0], study.make_measures()
    assert "fidelity" not in measures_of(study, measures, dense)
    assert "fidelity" in measures_of(study, measures, control)
    everything = validate(Study, demo() | change | {"recovery": COQA, "seeds": [0]}, "s")
    assert len([cell for cell in cells("s", everything) if cell.recovery == "lora"]) == 1 + 6 * 2


def test_recovery_defaults_are_the_official_ones() -> None:
    lora = validate(Study, demo() | {"recovery": COQA}, "s").recovery
    assert (lora.rank, lora.alpha, lora.dropout, len(lora.targets)) == (32, 64, 0.05, 7)
    assert (lora.learning_rate, lora.schedule, lora.warmup_steps, lora.weight_decay) == (4e-4, "cosine", 0, 0)
    assert (lora.batch, lora.length, lora.epochs, lora.max_steps, lora.examples) == (128, 1024, 2, None, None)
    assert lora.packing == "isolated"


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match=r"gone\.yaml: cannot read it"):
        load(Study, tmp_path / "gone.yaml")
    for content in (b"a: [1", "description: Größe".encode("latin-1")):
        (tmp_path / "bad.yaml").write_bytes(content)
        with pytest.raises(HfpruneError, match=r"bad\.yaml: not valid YAML"):
            load(Study, tmp_path / "bad.yaml")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("measures:\n  perplexity: {corpus: a}\n  perplexity: {corpus: b}\n")
    with pytest.raises(
        HfpruneError, match=r"twice\.yaml: not valid YAML: 'perplexity' is there twice.*line 3"
    ):
        load(Study, tmp_path / "twice.yaml")


def test_a_ratio_is_rounded_as_files_spell_it() -> None:
    long = {"ratios": [0.1234567, 0.3], "methods": {"entropy": {"ratios": 0.1234567}}}
    study = validate(Study, demo() | UNTUNED | {"measures": {"perplexity": TEXT}} | long, "s")
    assert study.ratios == [0.123457, 0.3] and study.methods["entropy"].ratios == [0.123457]
