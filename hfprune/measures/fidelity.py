"""Distance between the output distributions of a pruned model and the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from hfprune.cells.items import block_items, mean_value
from hfprune.evaluation.measured_model import Subject, batch_size
from hfprune.measurement import Metric, Outcome, TextMeasure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.models.head import Head


class Fidelity(TextMeasure):
    """JS distance, top-k Jaccard and KL divergence to the dense model's next-token distributions (paper, Table 7).

    Each is the mean over all positions of all blocks: `js_distance`, the square root of the Jensen–Shannon
    divergence in nats (as `scipy.spatial.distance.jensenshannon`); `top<k>_jaccard`, the Jaccard index of the k
    most likely tokens; `kl_divergence`, KL(dense ‖ pruned) in nats. One item per block.
    """

    needs = "beside"
    resampled = True
    capability = "Likeness to the dense model"

    top_k: PositiveInt = Field(default=15, description="size of the token sets of the Jaccard index")

    def metrics(self) -> list[Metric]:
        """Return the three distances."""
        jaccard, fine = f"top{self.top_k}_jaccard", "{:+.4f}"
        js_distance = Metric(
            "js_distance",
            "JS distance",
            better="lower",
            items=("js_distance",),
            difference=fine,
            words=("stays nearest the dense model", "nearer", "farther"),
            explained="JS distance compares the next-token distributions of the pruned and the dense model; "
            "0 means that they are the same.",
        )
        return [
            js_distance,
            Metric(jaccard, f"Top-{self.top_k} Jaccard", better="higher", items=(jaccard,), difference=fine),
            Metric("kl_divergence", "KL divergence", "nats", better="lower", items=("kl_divergence",)),
        ]

    def run(self, subject: Subject) -> Outcome:
        """Compare the two models on every block."""
        import pandas as pd
        import torch
        from tqdm import tqdm

        tokens, documents = subject.blocks(self)
        batch = batch_size(self.batch_tokens, self.length)
        dense = subject.dense_output(tokens, batch)  # before the model, for the memory of one
        model = subject.model
        rows: list[list[float]] = []
        with torch.inference_mode(), tqdm(total=len(tokens), desc="fidelity", unit="block") as bar:
            parts = zip(subject.read(tokens, batch), dense.states.split(batch), strict=True)
            for (_, hidden), states in parts:
                rows += _compare(dense.head, states, model, hidden, self.top_k).tolist()
                bar.update(len(hidden))
        names = [metric.name for metric in self.metrics()]
        items = block_items(documents, pd.DataFrame(rows, columns=names))
        return Outcome([mean_value(name, items) for name in names], items)


def _compare(head: Head, states: Tensor, model: PreTrainedModel, hidden: Tensor, top_k: int) -> Tensor:
    """Return the mean of each metric over the positions of each block, float64 [blocks, metrics].

    `states` and `hidden` are the last hidden states [blocks, length, width] of the dense model and of this one.
    """
    import torch

    from hfprune.models.head import chunks, pieces

    pruned, dense = hidden.flatten(0, 1), states.to(head.device).flatten(0, 1)
    pairs = zip(chunks(head, dense, None), chunks(model, pruned, None), strict=True)
    parts = [
        distances(p[rows].float(), q[rows].float(), top_k) for (_, p), (_, q) in pairs for rows in pieces(p)
    ]
    return torch.cat(parts).double().view(*hidden.shape[:2], -1).mean(1)


def distances(dense: Tensor, pruned: Tensor, top_k: int) -> Tensor:
    """Return JS distance, top-k Jaccard and KL for logits [n, vocabulary] of two models, as [n, 3]."""
    import torch

    log_p, log_q = dense.log_softmax(-1), pruned.log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    log_m = (p + q).mul_(0.5).clamp_min_(torch.finfo(p.dtype).tiny).log_()
    kl = (p * (log_p - log_q)).sum(-1)
    # In place, since new copies of a large vocabulary take most of the time.
    js = log_p.sub_(log_m).mul_(p).add_(log_q.sub_(log_m).mul_(q)).sum(-1).mul_(0.5)
    tops = [x.topk(min(top_k, x.shape[-1])).indices for x in (dense, pruned)]
    shared = (tops[0].unsqueeze(-1) == tops[1].unsqueeze(-2)).sum((-1, -2))
    jaccard = shared / (2 * tops[0].shape[-1] - shared)
    # Rounding can leave a tiny negative divergence where the distributions agree.
    return torch.stack([js.clamp_min(0).sqrt(), jaccard, kl], -1)
