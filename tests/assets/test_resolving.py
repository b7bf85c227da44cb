"""One resolver for every spelling of an asset: catalogue names, folders, files, and places on the hub."""

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from assets.hub_server import COMMIT, HubServer, be_the_hub, serving
from command_line import failure, run
from huggingface_hub import constants
from pyarrow import parquet
from smoke import TEXT, local, save_model, write

from hfprune.assets import network
from hfprune.assets import shipped as shipping
from hfprune.assets.catalogue import Catalogue
from hfprune.assets.corpora import read_corpus
from hfprune.assets.resolving import is_there, resolve
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.models.load import load_tokenizer
from hfprune.pruning.config import Pruning
from hfprune.settings import load
from hfprune.stages.fetch import Fetch


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    save_model("llama", folder)
    return folder


@pytest.fixture
def hub(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    files = {path.name: path.read_bytes() for path in mine.iterdir()}
    with serving(files | {"data/text.jsonl": json.dumps({"text": TEXT[0]}).encode()}) as server:
        be_the_hub(server, tmp_path / "cache", monkeypatch)
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(network, "_users", {})
        yield server


LINES = [text.strip() for text in TEXT[:5]]
MINE = {
    ".txt": "\n".join(LINES).encode(),
    ".txt.gz": gzip.compress("\n".join(LINES).encode()),
    ".jsonl": "\n".join(json.dumps({"text": line}) for line in LINES).encode(),
}


@pytest.mark.parametrize("end", [*MINE, ".parquet"])
def test_a_text_is_a_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"my own{end}"
    if end == ".parquet":
        parquet.write_table(pa.table({"text": LINES, "url": ["x"] * 5}), path)
    else:
        path.write_bytes(MINE[end])
    folder = resolve("corpora", path, tmp_path / "resources")
    assert read_corpus(folder) == LINES
    made = (folder / "asset.json").stat().st_mtime_ns
    copy = shutil.copytree(tmp_path, tmp_path / "elsewhere", ignore=lambda *_: ["resources"]) / path.name
    assert resolve("corpora", copy, tmp_path / "resources") == folder, "known by its contents"
    assert (folder / "asset.json").stat().st_mtime_ns == made, "fetched once"
    if end == ".txt":
        path.write_text("Another text.")
        assert read_corpus(resolve("corpora", path, tmp_path / "resources")) == ["Another text."]


def test_a_model_on_the_hub_is_fetched_once_and_stays_at_its_commit(hub: HubServer, tmp_path: Path) -> None:
    network.close()
    assert constants.HF_HUB_OFFLINE
    folder = resolve("models", "some/model", tmp_path / "resources")
    assert constants.HF_HUB_OFFLINE, "offline again"
    made = read_json(folder / "asset.json")
    assert (made["name"], made["entry"]["source"]["revision"]) == ("some/model", COMMIT)
    assert (folder / "model.safetensors").is_file()
    hub.asked.clear()
    hub.head = "f" * 40
    assert resolve("models", "some/model", tmp_path / "resources") == folder
    assert hub.asked == []
    assert resolve("models", f"some/model@{COMMIT}", tmp_path / "resources").name == f"some--model--{COMMIT}"
    text = resolve("corpora", "some/text/data/text.jsonl", tmp_path / "resources")
    assert read_corpus(text) == [TEXT[0]]
    run("budget", "--model", folder, "--ratios", 0.2, "--out", tmp_path / "budget.json")


def test_working_folders_share_what_the_packages_catalogue_names(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with assets or a catalogue of its own keeps its own; an edited entry is fetched again."""
    network.close()
    package, shared = tmp_path / "package", tmp_path / "home/resources"
    monkeypatch.setattr(shipping, "_HOME", package)
    monkeypatch.setenv("HFPRUNE_HOME", str(tmp_path / "home"))
    (package / "config").mkdir(parents=True)
    write(package / "config/assets.yaml", {"models": {"mine": f"some/model@{COMMIT}"}})
    folders = [tmp_path / name for name in ("first", "second", "clone", "own")]
    for folder in folders:
        folder.mkdir()
    first, second, clone, own = folders
    monkeypatch.chdir(first)
    run("budget --model mine --ratios 0.2 --out budget.json")
    assert (shared / "models/mine/config.json").is_file() and [*first.iterdir()] == [first / "budget.json"]
    hub.asked.clear()
    monkeypatch.chdir(second)
    (second / "resources/images").mkdir(parents=True)  # somebody else's
    assert resolve("models", "mine") == shared / "models/mine" and hub.asked == []
    assert is_there("models/mine", load(Catalogue, package / "config/assets.yaml"), shared)
    assert Pruning(model="mine", ratio=0.2, out=Path("x")).resources == shared
    run("fetch models/mine")
    assert hub.asked == [] and not (second / "resources/models").exists()

    (clone / "resources/models/before").mkdir(parents=True)
    (clone / "resources/models/before/asset.json").write_text("{}")
    monkeypatch.chdir(clone)
    assert (
        resolve("models", "mine") == Path("resources/models/mine") and Path("resources/models/mine").is_dir()
    )
    monkeypatch.chdir(own)
    write(own / "assets.yaml", {"models": {"mine": "other/model"}})
    called = Pruning(model="mine", ratio=0.2, out=Path("x"), catalogue=own / "assets.yaml")
    fetched = Fetch(catalogue=own / "assets.yaml")
    assert called.resources == fetched.resources == Path("resources")

    hub.asked.clear()
    monkeypatch.chdir(second)
    write(package / "config/assets.yaml", {"models": {"mine": f"other/model@{COMMIT}"}})
    assert not is_there("models/mine", load(Catalogue, package / "config/assets.yaml"), shared)
    assert resolve("models", "mine") == shared / "models/mine" and hub.asked
    assert read_json(shared / "models/mine/asset.json")["entry"]["source"]["repo"] == "other/model"


def test_what_a_user_who_is_offline_set_stays(hub: HubServer, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    network.close()
    with pytest.raises(HfpruneError, match=r"unset HF_HUB_OFFLINE if it is set"):
        resolve("models", "some/model", tmp_path / "resources")
    assert hub.asked == []


def test_a_hub_that_refuses_or_is_not_reached(hub: HubServer, tmp_path: Path) -> None:
    hub.refusal, out = (403, "GatedRepo"), tmp_path / "out"
    line = failure("prune", "--model", "some/model", "--ratio", 0.2, "--out", out, "--resources", tmp_path)
    start = "hfprune prune: error: no model 'some/model': no folder or file, not in config/assets.yaml; "
    gated = "on the hub: some/model: gated; accept its licence on https://huggingface.co/"
    assert line.startswith(start + gated) and not out.exists()
    hub.shutdown()
    hub.server_close()
    message = r"hub cannot be reached .*; connect to a network, or copy it here"
    with pytest.raises(HfpruneError, match=message):
        resolve("models", "some/model", tmp_path / "resources")


def test_a_word_that_is_nothing_lists_what_was_tried(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("a,b")
    for word in (tmp_path / "odd.csv", "my/model.gguf", "smollm2-135m-instruct-q5"):
        line = failure("budget", "--model", word, "--ratios", 0.2)
        assert line.startswith(
            f"hfprune budget: error: --model: no model {str(word)!r}: not a folder with config.json, a .gguf "
            "file or OWNER/NAME[@REVISION][/FILE.gguf] on the hub, and not a name in config/assets.yaml"
        )
    assert line.endswith("; did you mean 'smollm2-135m-instruct-q4'?")


def test_a_catalogue_may_give_a_spelling_in_place_of_an_entry(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(TEXT))
    text = str(tmp_path / "text.txt")
    models = {"folder": str(mine), "hub": "some/model", "pinned": f"some/model@{COMMIT}"}
    corpora = {"text": text, "long": {"source": local(mine), "format": "lines"}}
    write(tmp_path / "assets.yaml", {"models": models, "corpora": corpora})
    found = load(Catalogue, tmp_path / "assets.yaml")
    assert found.models["pinned"].source.revision == COMMIT  # type: ignore[union-attr]
    assert found.models["hub"].source.revision == "main"  # type: ignore[union-attr]
    assert found.corpora["text"].format == "lines"
    resources = ("--catalogue", tmp_path / "assets.yaml", "--resources", tmp_path / "resources")
    run("fetch", "models/folder", "corpora/text", f"corpora/{text}", *resources)
    folders = (tmp_path / "resources/corpora").iterdir()
    assert [read_corpus(folder)[:2] for folder in folders] == [TEXT[:2]] * 2, (
        "by the entry and by its own name"
    )
    assert load_tokenizer(tmp_path / "resources/models/folder")
    write(tmp_path / "assets.yaml", {"models": {"odd": "nowhere"}})
    with pytest.raises(HfpruneError, match=r"models: odd: 'nowhere' is not a folder with config\.json, a"):
        load(Catalogue, tmp_path / "assets.yaml")


def test_a_study_says_where_a_spelling_goes(tmp_path: Path) -> None:
    study = {"models": ["some/model"], "methods": ["entropy"], "ratios": [0.2], "measures": {}}
    study["calibrations"] = {"mine": {"corpus": "my/own/text.jsonl", "sequences": 2, "length": 16}}
    write(tmp_path / "study.yaml", study)
    assert "as `models: {mine: some/model}`" in failure("fetch", "--study", tmp_path / "study.yaml")
    write(tmp_path / "study.yaml", study | {"models": ["smollm2-135m"]})
    line = failure("fetch", "--study", tmp_path / "study.yaml")
    assert line.endswith("(config/assets.yaml; name it there, as `corpora: {mine: my/own/text.jsonl}`)")
