"""Real models for the tests: tiny ones built on the spot, and SmolLM2 from PyPI."""

import os

# Before CUDA starts. The tests are the same everywhere, and a GPU that this process holds would be none that the
# commands that it starts could lease. Those of tests/gpu have GPUs of their own.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Threads that outnumber the processors wait for each other in turns, which takes up to a hundred times as long.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
import transformers
from filelock import FileLock
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from hfprune.models.fused import separate
from hfprune.scoring.score import Scored

transformers.utils.logging.disable_progress_bar()

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
ARCHITECTURES = {
    "llama": {"tie_word_embeddings": True},
    # mlp_bias is what tells biases apart in the parameter count; Qwen2 has biases on q, k and v.
    "llama-bias": {"mlp_bias": True},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 16},
    "phi3": {"tie_word_embeddings": True, "pad_token_id": 0},
}

# Heads that share keys and values by twos, and that do not.
HEADS = {
    "gqa": {"num_attention_heads": 8, "num_key_value_heads": 4},
    "mha": {"num_attention_heads": 4, "num_key_value_heads": 4},
}


# Files of few but long tests, the longest first. xdist would deal the files with the most tests first, and one
# process would wait at the end while the other works through these. `test_workflow.py` makes the smoke study: it
# is there before `test_sizes.py` asks for it.
LONGEST = (
    "workflow/test_workflow.py",
    "workflow/test_added_methods.py",
    "report/test_figures.py",
    "workflow/",
    "pruning/",
    "exports/",
    "commands/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front; `make test` keeps this order when it deals files to processes."""

    def place(item: pytest.Item) -> int:
        name = item.nodeid.removeprefix("tests/")
        return next((at for at, start in enumerate(LONGEST) if name.startswith(start)), len(LONGEST))

    items.sort(key=place)


def build_tiny(architecture: str, **changes) -> PreTrainedModel:
    kind = architecture.removesuffix("-bias")
    model = peaked(AutoConfig.for_model(kind, **SHAPE | ARCHITECTURES[architecture] | changes))
    separate(model)
    return model


def peaked(config: PretrainedConfig, seed: int = 7) -> PreTrainedModel:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.15)
    return model.eval().requires_grad_(False)


def generates_the_same_without_cache(
    model: PreTrainedModel, plain: PreTrainedModel, tokens: torch.Tensor, **settings: object
) -> bool:
    """Tell whether `model`, with a KV cache, continues tokens as `plain` does, which reads them all again."""
    ends = {"pad_token_id": 0, "eos_token_id": None} | settings
    mask = torch.ones_like(tokens)
    found = model.generate(tokens, attention_mask=mask, max_new_tokens=3, do_sample=False, **ends)
    for _ in range(3):
        tokens = torch.cat([tokens, plain(tokens).logits[:, -1:].argmax(-1)], 1)
    return torch.equal(found, tokens)


@pytest.fixture(params=ARCHITECTURES)
def tiny(request: pytest.FixtureRequest) -> PreTrainedModel:
    return build_tiny(request.param)


@pytest.fixture(params=[*((a, "gqa") for a in ARCHITECTURES), ("llama", "mha")], ids="-".join)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    architecture, heads = request.param
    return build_tiny(architecture, **HEADS[heads])


@pytest.fixture
def tokens() -> torch.Tensor:
    """Six calibration blocks of 17 tokens."""
    return torch.randint(0, SHAPE["vocab_size"], (6, 17), generator=torch.Generator().manual_seed(3))


def assert_near(ours: Iterable[torch.Tensor], theirs: Iterable[torch.Tensor], relative: float = 1e-4) -> None:
    """The same scores up to rounding, place by place: relative to each, and to the mean of the place."""
    for mine, reference in zip(ours, theirs, strict=True):
        assert reference.abs().max() > 0, "the reference itself is zero"
        torch.testing.assert_close(mine, reference, rtol=relative, atol=relative * float(reference.mean()))


def assert_same_scores(a: Scored, b: Scored) -> None:
    assert [*a.scores] == [*b.scores]
    assert all(torch.equal(a.scores[place], b.scores[place]) for place in a.scores)
    assert a.curve == b.curve


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str | None]
) -> tuple[Path, str]:
    """Return a folder that one process of the session makes for all, and what `make` said when it did.

    `make` gets a folder that is not there, and may return a text. If it fails, the next process tries again.
    """
    base = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, said = shared / name, shared / f"{name}.txt"
    with FileLock(shared / f"{name}.lock"):
        if not said.exists():
            shutil.rmtree(folder, ignore_errors=True)
            written = Path(f"{folder}.made")
            written.write_text(make(folder) or "")
            written.replace(said)
    return folder, said.read_text()


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for downloaded wheels, shared by the session; HFPRUNE_DOWNLOADS keeps it between sessions."""
    os.environ.setdefault("HFPRUNE_DOWNLOADS", str(tmp_path_factory.mktemp("downloads")))
    return Path(os.environ["HFPRUNE_DOWNLOADS"])


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Path:
    """Folder of the dense SmolLM2-135M, fetched as the demo study does."""
    from hfprune.assets.catalogue import Catalogue
    from hfprune.assets.fetching import fetch_asset
    from hfprune.settings import load

    name = "smollm2-135m-instruct-q4"
    source = load(Catalogue, Path(__file__).parents[1] / "config" / "assets.yaml").models[name]
    folder, _ = made_once(
        tmp_path_factory, name, lambda out: fetch_asset("models", name, source, out, downloads)
    )
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a tokenizer alone, as the source of an export."""
    from smoke import build_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return folder


def reload(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder).eval()
