"""Distance between the output distributions of a pruned model and the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from hfprune.items import block_items, mean_value
from hfprune.measures import Metric, Outcome, TextMeasure
from hfprune.subject import KEPT_BYTES, Subject, batch_size

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.cost.work import Case, Work


class Fidelity(TextMeasure):
    """JS distance, top-k Jaccard and KL divergence to the dense model's next-token distributions (paper, Table 7).

    Each is the mean over all positions of all blocks: `js_distance`, the square root of the Jensen–Shannon
    divergence in nats (as `scipy.spatial.distance.jensenshannon`); `top<k>_jaccard`, the Jaccard index of the k
    likeliest tokens; `kl_divergence`, KL(dense ‖ pruned) in nats. One item per block.
    """

    needs = "beside"
    resampled = True

    top_k: PositiveInt = Field(default=15, description="size of the token sets of the Jaccard index")

    def metrics(self) -> list[Metric]:
        """Return the three distances."""
        jaccard = f"top{self.top_k}_jaccard"
        return [
            Metric("js_distance", "JS distance", better="lower", items=("js_distance",)),
            Metric(jaccard, f"Top-{self.top_k} Jaccard", better="higher", items=(jaccard,)),
            Metric("kl_divergence", "KL divergence", "nats", better="lower", items=("kl_divergence",)),
        ]

    def work(self, case: Case) -> Work:
        """Return the work of reading every block by both models, which are in memory together, and comparing."""
        from hfprune.cost.work import DISTANCES

        number, dense = self.blocks_to_read(), case.dense or case.shape
        size: dict[str, Any] = {"sequences": number, "length": self.length, "batch_tokens": self.batch_tokens}
        pruned = case.read(positions=self.length, passes=DISTANCES, **size)
        masked = case.read(positions=2 * self.length, passes=DISTANCES / 2, shape=dense, **size)
        # The dense model's states are kept for the resampled plans as far as they fit (`KEPT_BYTES`).
        again = max(0.0, 1 - KEPT_BYTES / (number * self.length * dense.hidden * case.width))
        masked += case.read(positions=0, shape=dense, **size) * again
        both = pruned + case.read(positions=self.length, passes=0, shape=dense, **size)
        return both.beside(dense.weights(case.width)) + masked * case.resamples + case.load(dense)

    def run(self, subject: Subject) -> Outcome:
        """Compare the two models on every block."""
        import pandas as pd
        import torch
        from tqdm import tqdm

        model = subject.model  # pruned first: a plan that does not fit fails early
        tokens, documents = subject.blocks(self)
        rows: list[list[float]] = []
        with torch.inference_mode(), tqdm(total=len(tokens), desc="fidelity", unit="block") as bar:
            for batch in tokens.split(batch_size(self.batch_tokens, self.length)):
                rows += _compare(subject, batch.to(model.device, torch.int64), self.top_k).tolist()
                bar.update(len(batch))
        names = [metric.name for metric in self.metrics()]
        items = block_items(documents, pd.DataFrame(rows, columns=names))
        return Outcome([mean_value(name, items) for name in names], items)


def _compare(subject: Subject, tokens: Tensor, top_k: int) -> Tensor:
    """Return the mean of each metric over each block's positions, float64 [blocks, metrics]."""
    import torch

    from hfprune.models.head import chunks, hidden_states

    dense, pruned = subject.dense_states(tokens), hidden_states(subject.model, tokens)
    pairs = zip(
        chunks(subject.dense, dense.flatten(0, 1)), chunks(subject.model, pruned.flatten(0, 1)), strict=True
    )
    parts = [distances(p, q, top_k) for (_, p), (_, q) in pairs]
    return torch.cat(parts).double().view(*tokens.shape, -1).mean(1)


def distances(dense: Tensor, pruned: Tensor, top_k: int) -> Tensor:
    """Return JS distance, top-k Jaccard and KL for logits [n, vocabulary] of two models, as [n, 3]."""
    import torch

    log_p, log_q = dense.log_softmax(-1), pruned.log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    log_m = (0.5 * (p + q)).clamp_min(torch.finfo(p.dtype).tiny).log()
    js = 0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1)
    kl = (p * (log_p - log_q)).sum(-1)
    tops = [x.topk(min(top_k, x.shape[-1])).indices for x in (dense, pruned)]
    shared = (tops[0].unsqueeze(-1) == tops[1].unsqueeze(-2)).sum((-1, -2))
    jaccard = shared / (2 * tops[0].shape[-1] - shared)
    # Rounding can leave a tiny negative divergence where the distributions agree.
    return torch.stack([js.clamp_min(0).sqrt(), jaccard, kl], -1)
