"""What criteria see in next-token distributions, against a calculation by hand from the model's own logits."""

import numpy as np
import pytest
import torch
from conftest import build_tiny
from smoke import build_tokenizer

from hfprune.evaluation.next_tokens import LEVELS, TOKENS, distributions


def test_positions_probabilities_and_derivatives_by_hand() -> None:
    tokenizer = build_tokenizer()
    model = build_tiny("llama", vocab_size=len(tokenizer))
    blocks = torch.randint(2, len(tokenizer), (3, 12), generator=torch.Generator().manual_seed(1))
    found, table = distributions(model, tokenizer, blocks.int(), batch=2)

    log_p = model(blocks).logits[:, :-1].flatten(0, 1).log_softmax(-1)
    entropies = -(log_p.exp() * log_p).sum(-1)
    torch.testing.assert_close(found.flatten(), entropies.double(), rtol=1e-5, atol=1e-6)
    assert table["item"].tolist() == [*range(len(table))]
    assert table["level"].unique().tolist() == list(LEVELS)
    for (level, entropy), rows in table.groupby(["level", "entropy"]):
        place = (entropies - entropy).abs().argmin()
        # Of 33 positions: as many are lower as the level says.
        assert int((entropies < entropies[place]).sum()) == round(level * 32)
        block, position = divmod(int(place), 11)
        assert rows["context"].iloc[0] == tokenizer.decode(blocks[block, : position + 1][-12:])
        p, shown = log_p[place].exp(), rows["probability"].to_numpy()
        assert shown[:TOKENS] == pytest.approx(p.topk(TOKENS).values.numpy(), rel=1e-4)
        assert rows["rank"].tolist()[:TOKENS] == [*range(1, TOKENS + 1)]
        target = int(blocks[block, position + 1])
        (true,) = rows[rows["is_target"]].itertuples()
        assert true.token == tokenizer.decode([target])
        assert true.probability == pytest.approx(float(p[target]))
        assert true.rank == 1 + int((p > p[target]).sum())
        assert rows["cross_entropy_gradient"].to_numpy() == pytest.approx(shown - rows["is_target"], rel=1e-4)
        by_hand = -shown * (np.log(shown) + entropy)
        assert rows["entropy_gradient"].to_numpy() == pytest.approx(by_hand, rel=1e-3, abs=1e-6)
