"""An lm-eval model that reads shared context once and computes only the necessary logits."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from hfprune.evaluation.lm_tasks import HFLM
from hfprune.evaluation.prefix_tree import PrefixTree, batches, by_window, pack
from hfprune.models.checks import check_model
from hfprune.models.head import chunks, hidden_states
from hfprune.models.load import default_batch_tokens
from hfprune.models.shape import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# A tree may grow to this size even if the token budget is smaller: it reads no more tokens than its sequences
# would separately, and an article of 500 tokens should be read once for all its questions.
TREE_TOKENS = 2048


class PrefixTreeLM(HFLM):
    """Stock `HFLM` with faster log-likelihoods; the rest, such as tokenization, is inherited.

    Stock lm-eval reads the context again for every choice and takes a log-softmax over the vocabulary at
    every position. Here sequences with a common prefix are packed into trees (`prefix_tree`), and the head
    runs only where a continuation is predicted, in chunks.
    """

    def __init__(
        self,
        pretrained: "str | PreTrainedModel",
        *,
        batch_tokens: int | None = None,
        **stock: Any,
    ) -> None:
        """Wrap a model, a folder or a hub name as `HFLM` does; a forward pass takes at most `batch_tokens`.

        Raises:
            HfpruneError: the architecture is not supported.
        """
        super().__init__(pretrained, **({"backend": "causal", "batch_size": 1} | stock))
        check_model(self.model)
        self.batch_tokens = int(batch_tokens or default_batch_tokens())

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Return (log-likelihood of the continuation, whether it is the greedy one) for each request."""
        inputs = [(context + target)[-(self.max_length + 1) :][:-1] for _, context, target in requests]
        targets = [target for _, _, target in requests]
        token_cost, pair_cost = self._costs()
        trees = pack(inputs, token_cost, pair_cost, max(TREE_TOKENS, self.batch_tokens))
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with tqdm(total=len(requests), desc="evaluate", unit="request", disable=disable_tqdm) as bar:
            for batch in batches(trees, self.batch_tokens):
                found = self._answer(batch, targets)
                for number, answer in found.items():
                    answers[number] = answer
                    if requests[number][0] is not None:
                        self.cache_hook.add_partial("loglikelihood", requests[number][0], answer)
                bar.update(len(found))
        return answers

    def _costs(self) -> tuple[float, float]:
        """Return the floating-point operations per token and per attended pair of tokens."""
        weights = sum(parameter.numel() for parameter in self.model.model.layers.parameters())
        shape = Shape.of_config(self.model.config.to_dict())
        return 2.0 * weights, 4.0 * shape.layers * shape.heads * shape.head_dim

    def _answer(self, batch: list[PrefixTree], targets: list[list[int]]) -> dict[int, tuple[float, bool]]:
        hidden = self._read(batch)
        rows, nodes, tokens, owners = [], [], [], []
        for row, tree in enumerate(batch):
            for number, path in tree.paths.items():
                target = targets[number]
                rows += [row] * len(target)
                nodes += path[-len(target) :]
                tokens += target
                owners += [number] * len(target)
        log_p, greedy = self._predict(hidden, torch.tensor([rows, nodes]), torch.tensor(tokens))
        answers: dict[int, tuple[float, bool]] = {}
        for owner, value, hit in zip(owners, log_p.tolist(), greedy.tolist(), strict=True):
            total, all_hit = answers.get(owner, (0.0, True))
            answers[owner] = (total + value, all_hit and hit)
        # Stock sums in the dtype of its log-softmax.
        return {
            owner: (torch.tensor(x, dtype=log_p.dtype).item(), hit) for owner, (x, hit) in answers.items()
        }

    def _read(self, batch: list[PrefixTree]) -> Tensor:
        size = len(batch[0])
        pad = [0] * size
        both = [[(part + pad)[:size] for part in (tree.tokens, tree.depths)] for tree in batch]
        tokens, depths = torch.tensor(both, device=self.device).unbind(1)
        mask = torch.stack([tree.mask(size) for tree in batch]).unsqueeze(1).to(self.device)
        masks = by_window(self.model.config, mask, depths)
        return hidden_states(self.model, tokens, position_ids=depths, attention_mask=masks)

    def _predict(self, hidden: Tensor, index: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(token) [n] and whether it is the likeliest [n], at the nodes `index` [2, n] of `hidden`.

        The log-softmax has the same dtype as in stock lm-eval: the model's, or `softmax_dtype`. `index`, `tokens`
        and what is returned are on the CPU, where they are sorted and counted: no chunk waits for a GPU.
        """
        # One-token choices share a node; its logits are computed once.
        unique, inverse = index.unique(dim=1, return_inverse=True)
        order = inverse.argsort()
        places = inverse[order]
        at, wanted = torch.stack([places, tokens[order]]).to(hidden.device)
        states = hidden[tuple(unique.to(hidden.device))]
        values, hits = [], []
        for part, found in chunks(self.model, states, dtype=None):
            chunk = found.log_softmax(-1, dtype=self.softmax_dtype)
            mine = slice(*torch.searchsorted(places, torch.tensor([part.start, part.stop])).tolist())
            local = at[mine] - part.start
            values.append(chunk[local, wanted[mine]])
            hits.append(chunk.argmax(-1)[local] == wanted[mine])
        back = order.argsort()
        return torch.cat(values).cpu()[back], torch.cat(hits).cpu()[back]
