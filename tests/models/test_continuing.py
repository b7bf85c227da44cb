"""Text that a model writes itself is drawn from its own distribution."""

import random
from pathlib import Path

import pytest
import torch
from conftest import build_tiny
from smoke import build_tokenizer
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from hfprune.assets.formats import write_arrow
from hfprune.calibration.blocks import load_blocks
from hfprune.models.continuing import continued
from hfprune.models.head import draw_tokens
from hfprune.seeds import derive_seed

KEPT = 3


def test_each_token_is_that_of_inverse_transform_sampling(tiny, tokens: torch.Tensor) -> None:
    """By a plain loop over the probabilities of a model that reads everything again, without a cache."""
    found = continued(tiny, tokens.int(), KEPT, seed=5, corpus="c4")
    assert found.dtype == torch.int32 and torch.equal(found[:, :KEPT], tokens[:, :KEPT].int())
    for number, block in enumerate(found.long()):
        generator = torch.Generator().manual_seed(derive_seed(5, "continued", "c4", number))
        uniform = torch.rand(len(block) - KEPT, generator=generator, dtype=torch.float64).tolist()
        chances = tiny(block[None]).logits[0].double().softmax(-1).tolist()
        for place, wanted in enumerate(uniform, start=KEPT):
            token = int(block[place])
            below = sum(chances[place - 1][:token])
            assert below - 1e-6 <= wanted <= below + chances[place - 1][token] + 1e-6


def test_a_block_does_not_depend_on_those_beside_it(tokens: torch.Tensor) -> None:
    model = build_tiny("llama").double()
    together = continued(model, tokens, KEPT, seed=1)
    assert not torch.equal(together[:, KEPT:], tokens[:, KEPT:])
    assert torch.equal(continued(model, tokens, KEPT, seed=1, at_once=2 * tokens.shape[1]), together)
    assert torch.equal(continued(model, tokens[:2], KEPT, seed=1), together[:2])
    other = continued(model, tokens, KEPT, seed=2)
    assert not torch.equal(other, together) and torch.equal(other[:, :KEPT], tokens[:, :KEPT])


def test_tokens_are_as_frequent_as_they_are_probable() -> None:
    """Pearson's statistic of two drawn positions, the second under each frequent first; 4.5 sigma at most."""
    model, count = build_tiny("qwen2"), 6000
    found = continued(model, torch.full((count, 4), 11), 2, seed=0, at_once=count * 4)
    first, second = found[:, 2], found[:, 3]
    prefixes = [(torch.tensor([[11, 11]]), first)]
    for token in first.bincount().topk(2).indices:
        prefixes.append((torch.tensor([[11, 11, int(token)]]), second[first == token]))
    for prefix, drawn in prefixes:
        expected = len(drawn) * model(prefix).logits[0, -1].double().softmax(-1)
        seen = drawn.bincount(minlength=len(expected)).double()
        rare = expected < 5
        if rare.any():
            seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
            expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
        degrees = len(expected) - 1
        statistic = float(((seen - expected).square() / expected).sum())
        assert degrees > 3 and statistic < degrees + 4.5 * (2 * degrees) ** 0.5


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(4, 1)
    numbers = torch.tensor([0.0, 0.49, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert draw_tokens(logits.double(), numbers).tolist() == [1, 1, 3, 3]


def test_on_such_a_text_the_gradient_by_its_labels_is_that_by_drawn_labels() -> None:
    """As the Fisher information wants them: their difference is zero in the mean, and on other text it is not."""
    model, length = build_tiny("llama"), 6
    start = torch.randint(0, 97, (600, length), generator=torch.Generator().manual_seed(2))
    written = continued(model, start, 1, seed=3)

    def differences(blocks: torch.Tensor) -> torch.Tensor:
        """Return, for each block, the gradient by its labels less that by drawn ones, projected on a direction."""
        logits = model(blocks).logits[:, :-1].detach().requires_grad_()
        drawn = torch.distributions.Categorical(logits=logits.detach()).sample()
        losses = [
            cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
            for labels in (blocks[:, 1:], drawn)
        ]
        ours, theirs = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in losses)
        # A smooth function of the token: the gradient of the head's output in one direction.
        direction = model.lm_head.weight[:, :4]
        return ((ours - theirs) @ direction).sum(1)

    torch.manual_seed(0)
    for blocks, same in ((written, True), (start, False)):
        found = differences(blocks)
        errors = found.mean(0) / (found.std(0) / len(found) ** 0.5)
        assert (float(errors.abs().max()) < 4) == same


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    import pyarrow as pa

    tokenizer = build_tokenizer()
    build_tiny("llama", vocab_size=len(tokenizer)).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    words = random.Random(0).choices(["a", "house", "of", "water", "burns"], k=400)
    (tmp_path / "text").mkdir()
    write_arrow(tmp_path / "text/corpus.arrow", pa.table({"text": [" ".join(words)]}))
    (tmp_path / "text/asset.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_keeps_the_beginnings_and_says_so_in_the_record(project: Path, monkeypatch) -> None:
    from command_line import failure, run

    from hfprune.provenance import recorded

    command = "calibrate --model llama --corpus text --sequences 3 --length 16 --sampling pack --out"
    run(command, "plain.safetensors")
    run(command, "written.safetensors", "--continued-after", 5)
    plain, written = (load_blocks(project / f"{name}.safetensors") for name in ("plain", "written"))
    assert torch.equal(plain[:, :5], written[:, :5])
    assert all(not torch.equal(a, b) for a, b in zip(plain[:, 5:], written[:, 5:], strict=True))
    settings = [recorded(project / f"{name}.safetensors")["settings"] for name in ("plain", "written")]
    assert settings[1] == settings[0] | {"continued_after": 5, "dtype": "float32"}
    assert not {"continued_after", "dtype"} & {*settings[0]}
    # A Gemma's blocks begin with BOS, which is none of the tokens that stay.
    gemma = type("GemmaTokenizer", (PreTrainedTokenizerFast,), {})(
        tokenizer_object=build_tokenizer().backend_tokenizer, bos_token="<s>", eos_token="</s>"
    )
    with monkeypatch.context() as patch:
        patch.setattr("hfprune.models.load.load_tokenizer", lambda _: gemma)
        run(command, "plain-bos.safetensors")
        run(command, "bos.safetensors", "--continued-after", 5)
    plain, written = (load_blocks(project / f"{name}.safetensors") for name in ("plain-bos", "bos"))
    assert torch.equal(plain[:, :6], written[:, :6]) and not torch.equal(plain[:, 6], written[:, 6])
    assert set(plain[:, 0].tolist()) == {gemma.bos_token_id}
    before = (project / "written.safetensors").stat().st_mtime_ns
    run(command, "written.safetensors", "--continued-after", 5)
    assert (project / "written.safetensors").stat().st_mtime_ns == before
    assert "leaves nothing to write of 16 tokens" in failure(
        command, "x.safetensors", "--continued-after", 16
    )
