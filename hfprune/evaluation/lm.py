"""An lm-eval model that reads shared context once and computes only the necessary logits.

Stock lm-eval reads the context again for every choice and takes a log-softmax over the vocabulary at every
position. Here, sequences with a common prefix are packed into trees (`prefix_tree`); a beginning that many of them
share, such as few-shot examples, is kept in the KV cache (`beginning`); and the head runs in chunks, only where a
continuation is predicted.
"""

import logging
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from torch import Tensor
from tqdm import tqdm
from transformers import StoppingCriteria, StoppingCriteriaList

from hfprune.devices.batches import WRITTEN_AT_ONCE
from hfprune.evaluation.beginning import Beginning
from hfprune.evaluation.prefix_tree import PrefixTree, batches, by_window, pack, stems
from hfprune.models.checks import check_model
from hfprune.models.head import chunks, hidden_states
from hfprune.models.load import default_batch_tokens
from hfprune.models.quantised import count_weights, quantised_layers
from hfprune.models.shape import Shape

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Warnings of `HFLM` about a model that is given loaded instead of by name.
EXPECTED = ("`pretrained` model kwarg is not of type `str`", "Passed an already-initialized model")
logging.getLogger("lm_eval.models.huggingface").addFilter(
    lambda record: not record.getMessage().startswith(EXPECTED)
)
# A tree may grow to this size even if the token budget is smaller: it reads no more tokens than its sequences
# would separately, and an article of 500 tokens should be read once for all its questions.
TREE_TOKENS = 2048


class StopPerRow(StoppingCriteria):
    """Ends a row at any of the stop sequences.

    In stock lm-eval, rows go on until the same sequence has occurred in all of them; what follows the first stop
    sequence of a row is cut off afterwards.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", stop: list[str], start: int) -> None:
        """Look for `stop` after the first `start` tokens."""
        self.tokenizer, self.stop, self.start = tokenizer, stop, start
        # As in stock lm-eval: two more tokens, since a sequence may be spelt by other tokens than its own.
        lengths = [len(tokenizer.encode(word, add_special_tokens=False)) for word in stop]
        self.back = max(lengths, default=0) + 2

    def __call__(self, input_ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
        """Return whether each row [rows] has ended."""
        ends = self.tokenizer.batch_decode(input_ids[:, self.start :][:, -self.back :])
        ended = [any(word in text for word in self.stop) for text in ends]
        return torch.tensor(ended, device=input_ids.device)


class PrefixTreeLM(HFLM):
    """Stock `HFLM` with faster log-likelihoods and generation; the rest, such as tokenization, is inherited."""

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
        if not quantised_layers(self.model):  # which was checked before it was quantised
            check_model(self.model)
        self.batch_tokens = int(batch_tokens or default_batch_tokens())
        self._begun: Beginning | None = None

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
        limit = max(TREE_TOKENS, self.batch_tokens)
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with tqdm(total=len(requests), desc="evaluate", unit="request", disable=disable_tqdm) as bar:
            for stem in stems(inputs, [*map(len, targets)], limit):
                depth, own = len(stem.tokens), stem.sequences
                begun = Beginning.read(self.model, stem.tokens) if depth else None
                rests = [inputs[number][depth:] for number in own]
                trees = pack(rests, token_cost + depth * pair_cost, pair_cost, limit)
                for batch in batches(trees, self.batch_tokens):
                    batch_answers = self._answer(batch, [targets[number] for number in own], begun)
                    for place, answer in batch_answers.items():
                        answers[own[place]] = answer
                        if (texts := requests[own[place]][0]) is not None:
                            self.cache_hook.add_partial("loglikelihood", texts, answer)
                    bar.update(len(batch_answers))
        return answers

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Return the text that follows each request, up to a stop sequence, in batches of similar length."""
        lengths = [len(self.tok_encode(request.args[0])) for request in requests]
        answers = [""] * len(requests)
        # The longest first, so that the bar's forecast is rather too long than too short.
        waiting = sorted(range(len(requests)), key=lambda number: -lengths[number])
        self._begun = None
        with tqdm(total=len(requests), desc="generate", unit="request", disable=disable_tqdm) as bar:
            while waiting:
                longest = waiting[0]
                options = normalize_gen_kwargs(requests[longest].args[1], self.max_gen_toks)
                rows = max(1, WRITTEN_AT_ONCE // (lengths[longest] + options["max_gen_toks"]))
                batch, waiting = waiting[:rows], waiting[rows:]
                self.batch_size_per_gpu = len(batch)
                texts = super().generate_until([requests[number] for number in batch], disable_tqdm=True)
                for number, text in zip(batch, texts, strict=True):
                    answers[number] = text
                bar.update(len(batch))
        return answers

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: Any) -> Tensor:
        """Return left-padded prompts [rows, length] and their continuations, as in stock lm-eval.

        But a beginning that they share is read once, and then the padding moves behind it; and each row ends by
        itself.
        """
        # As in stock lm-eval: without a temperature, or with 0, decoding is greedy.
        options.setdefault("temperature", 0.0)
        if options["temperature"] == 0.0 and options.get("do_sample") is None:
            options["do_sample"] = False
        if options.get("do_sample") is False and options["temperature"] == 0.0:
            del options["temperature"]
        seen = options.pop("attention_mask")
        prompts = [row[mask.bool()].tolist() for row, mask in zip(context, seen, strict=True)]
        self._begun = begun = Beginning.shared_by(prompts, self.model, self._begun)
        if begun:
            count, rows = len(begun.tokens), len(context)
            at_front = torch.arange(context.shape[1], device=context.device).expand_as(context)
            padding = (seen == 0).sum(1, keepdim=True)
            # Row by row: the beginning, then the padding, then the rest.
            source = torch.where(at_front < count, at_front + padding, at_front - count)
            source = torch.where(at_front >= count + padding, at_front, source)
            context, seen = context.gather(1, source), seen.gather(1, source)
            parameters = signature(type(self.model).forward).parameters
            options["cache" if "cache" in parameters else "past_key_values"] = begun.cache(rows)
        return self.model.generate(
            input_ids=context,
            attention_mask=seen,
            max_length=max_length,
            stopping_criteria=StoppingCriteriaList([StopPerRow(self.tokenizer, stop, context.shape[1])]),
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            **options,
        )

    def _costs(self) -> tuple[float, float]:
        """Return the floating-point operations per token and per attended pair of tokens."""
        weights = count_weights(self.model.model.layers)
        shape = Shape.of_config(self.model.config.to_dict())
        return 2.0 * weights, 4.0 * shape.layers * shape.heads * shape.head_dim

    def _answer(
        self, batch: list[PrefixTree], targets: list[list[int]], begun: Beginning | None
    ) -> dict[int, tuple[float, bool]]:
        hidden = self._read(batch, begun)
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

    def _read(self, batch: list[PrefixTree], begun: Beginning | None) -> Tensor:
        size = len(batch[0])
        padding = [[0] * (size - len(tree)) for tree in batch]
        tokens = torch.tensor([tree.tokens + pad for tree, pad in zip(batch, padding, strict=True)])
        depths = torch.tensor([tree.depths + pad for tree, pad in zip(batch, padding, strict=True)])
        tokens, depths = tokens.to(self.device), depths.to(self.device)
        mask = torch.stack([tree.mask(size) for tree in batch]).unsqueeze(1).to(self.device)
        if begun is None:
            masks = by_window(self.model.config, mask, depths)
            return hidden_states(self.model, tokens, position_ids=depths, attention_mask=masks)
        return begun.continued(self.model, tokens, mask, depths + len(begun.tokens))

    def _predict(self, hidden: Tensor, index: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(token) [n] and whether it is the most likely [n], at the nodes `index` [2, n] of `hidden`.

        The log-softmax has the same dtype as in stock lm-eval: the model's, or `softmax_dtype`. `index`, `tokens`
        and the results are on the CPU, where they are sorted and counted, so that no chunk waits for a GPU.
        """
        # One-token choices share a node; its logits are computed once.
        unique, inverse = index.unique(dim=1, return_inverse=True)
        order = inverse.argsort()
        places = inverse[order]
        at, wanted = torch.stack([places, tokens[order]]).to(hidden.device)
        states = hidden[tuple(unique.to(hidden.device))]
        values, hits = [], []
        for part, logits in chunks(self.model, states, dtype=None):
            chunk = logits.log_softmax(-1, dtype=self.softmax_dtype)
            mine = slice(*torch.searchsorted(places, torch.tensor([part.start, part.stop])).tolist())
            local = at[mine] - part.start
            values.append(chunk[local, wanted[mine]])
            hits.append(chunk.argmax(-1)[local] == wanted[mine])
        back = order.argsort()
        return torch.cat(values).cpu()[back], torch.cat(hits).cpu()[back]
