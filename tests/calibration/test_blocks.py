import pytest
import torch

from hfprune.calibration.blocks import sample_blocks
from hfprune.errors import HfpruneError
from hfprune.seeds import derive_seed

DOCUMENTS = [" ".join(f"{word}{i}" for i in range(60 * (n % 3) + 5)) for n, word in enumerate("abcdefghij")]


class Letters:
    """A tokenizer of one token a character, to count by hand."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True, **_) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}


class GemmaLetters(Letters):
    """A tokenizer that puts BOS first, unless it is told not to."""

    bos_token_id = 1

    def __call__(self, text: str, add_special_tokens: bool = True, **_) -> dict[str, list[int]]:
        return {"input_ids": [self.bos_token_id] * add_special_tokens + super().__call__(text)["input_ids"]}


def draw_with_homes(tokenizer: Letters | None = None, **changes) -> tuple[torch.Tensor, list[int]]:
    settings = {"sequences": 4, "length": 50, "sampling": "crop", "seed": 1} | changes
    return sample_blocks(DOCUMENTS, tokenizer or Letters(), **settings)


def draw(**changes) -> torch.Tensor:
    return draw_with_homes(**changes)[0]


def text(block: torch.Tensor) -> str:
    return "".join(map(chr, block.tolist()))


def test_crop_takes_one_window_of_each_long_enough_document() -> None:
    blocks = draw(sequences=100)
    long_enough = [document for document in DOCUMENTS if len(document) > 50]
    assert blocks.shape == (len(long_enough), 50)
    homes = [[document for document in DOCUMENTS if text(block) in document] for block in blocks]
    assert sorted(home for (home,) in homes) == sorted(long_enough)


def test_pack_joins_whole_documents_with_eos() -> None:
    blocks = draw(sampling="pack", sequences=100)
    joined = "".join(map(text, blocks))
    total = sum(len(document) + 1 for document in DOCUMENTS)
    assert len(joined) == total // 50 * 50
    assert all(part in DOCUMENTS for part in joined.split("\0")[:-1])


def test_shuffled_blocks_are_those_of_a_pack_with_their_documents_in_another_order() -> None:
    packed, shuffled = (
        [*zip(map(text, blocks), homes, strict=True)]
        for blocks, homes in (draw_with_homes(sampling=each, sequences=20) for each in ("pack", "shuffle"))
    )
    assert sorted(shuffled) == sorted(packed) and shuffled != packed
    assert [home for _, home in shuffled] != sorted(home for _, home in shuffled)


@pytest.mark.parametrize("sampling", ["crop", "pack", "shuffle"])
def test_each_block_of_a_gemma_begins_with_bos_and_has_no_other(sampling: str) -> None:
    blocks, homes = draw_with_homes(GemmaLetters(), length=51, sampling=sampling)
    plain, same = draw_with_homes(sampling=sampling)
    assert homes == same
    assert blocks[:, 0].tolist() == [1] * 4
    assert torch.equal(blocks[:, 1:], plain)


@pytest.mark.parametrize("sampling", ["crop", "pack", "shuffle"])
def test_each_block_knows_the_document_in_which_it_starts(sampling: str) -> None:
    blocks, homes = draw_with_homes(sampling=sampling, sequences=100)
    assert len(homes) == len(blocks)
    assert (len(set(homes)) < len(homes)) == (sampling != "crop")
    for block, home in zip(blocks, homes, strict=True):
        # A pack's block may start with the EOS that ends its document, and may go on into the next.
        assert text(block).split("\0")[0] in DOCUMENTS[home]


@pytest.mark.parametrize("sampling", ["crop", "pack", "shuffle"])
def test_seed_and_place_decide_and_count_is_a_limit(sampling: str) -> None:
    """What is measured on is not drawn as what is calibrated on."""
    first = draw(sampling=sampling)
    assert first.shape == (4, 50) and torch.equal(first, draw(sampling=sampling))
    for other in ({"seed": 2}, {"place": "measurement"}):
        assert not torch.equal(first, draw(sampling=sampling, **other))
    assert derive_seed(0, "a", 1) != derive_seed(0, "a", 2) != derive_seed(1, "a", 1)
    assert 0 <= derive_seed(0) < 2**63


def test_nothing_to_draw_from() -> None:
    with pytest.raises(HfpruneError, match="'c4' is empty"):
        sample_blocks([], Letters(), sequences=1, length=1, sampling="crop", seed=0, corpus="c4")
    crops = f"{max(map(len, DOCUMENTS))} at most.*shorter length or sampling: pack"
    for sampling, message in (("crop", crops), ("pack", "cannot fill one block")):
        with pytest.raises(HfpruneError, match=message):
            draw(length=10_000, sampling=sampling)
