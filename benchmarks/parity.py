"""Compare our scores with those of peers' own code, on one model and the same tokens; writes `docs/parity.md`.

The peers are those that pip installs (`pip install 'hfprune[parity]'`). A second table has what differs by design:
published code that is no package, whose formulas are written again here.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from official import cross_entropy_loss
from torch import Tensor
from torch.nn.functional import cosine_similarity

from hfprune.assets.corpora import read_corpus
from hfprune.calibration.blocks import sample_blocks
from hfprune.criteria import make_criterion
from hfprune.models.load import load_model, load_tokenizer
from hfprune.plans.planning import make_plan
from hfprune.results.kept_neurons import jaccard
from hfprune.scoring.score import score
from hfprune.scoring.score_files import Scores

ROOT = Path(__file__).parents[1]
RATIO = 0.2
TEXT: dict[str, Any] = {"sequences": 6, "length": 32, "sampling": "pack", "seed": 0}
COLUMNS = ["code", "what it calls", "ours", "median difference", "largest difference", "overlap"]


@dataclass(frozen=True)
class Peer:
    """Scores by other code, and the criterion of ours that they are compared with."""

    code: str
    """A package, or a publication."""
    name: str
    """The scores' name there."""
    scores: Callable[[Any, Tensor], list[Tensor]]
    """Returns the scores [units] of each layer, or of all layers, from a model and blocks [sequences, length]."""
    criterion: str
    options: dict[str, Any] = field(default_factory=dict)
    units: str = "neurons"
    scaled: bool = False
    """Whether to scale each layer's scores to the mean of ours first, where the constants differ."""

    @property
    def ours(self) -> str:
        """The criterion with its options, as in a study."""
        options = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"`{self.criterion}`" + (f" with `{options}`" if options else "")


# --- packages -------------------------------------------------------------------------------------------


def optipfair(method: str, model: Any, blocks: Tensor) -> list[Tensor]:
    """Score by a function of optiPfair, which reads gate and up projection."""
    from optipfair.pruning.mlp_glu import IMPORTANCE_FUNCTIONS

    mlps = (layer.mlp for layer in model.model.layers)
    return [IMPORTANCE_FUNCTIONS[method](mlp.gate_proj.weight, mlp.up_proj.weight) for mlp in mlps]


def torch_pruning(importance: str, options: dict[str, Any], model: Any, blocks: Tensor) -> list[Tensor]:
    """Score by an importance of Torch-Pruning, over the group of weights that its own graph finds for a neuron."""
    import torch_pruning as tp

    scorer = getattr(tp.importance, importance)(normalizer=None, **options)
    mlps = [layer.mlp for layer in model.model.layers]
    for mlp in mlps:  # also for the graph
        mlp.requires_grad_()
    if "Taylor" in importance:
        for block in blocks:
            cross_entropy_loss(model(block[None]).logits, block[None]).backward()
    found = []
    for mlp in mlps:
        graph = tp.DependencyGraph().build_dependency(mlp, torch.zeros(1, 1, mlp.gate_proj.in_features))
        neurons = [*range(mlp.gate_proj.out_features)]
        group = graph.get_pruning_group(mlp.gate_proj, tp.prune_linear_out_channels, neurons)
        found.append(scorer(group))
        mlp.zero_grad()
        mlp.requires_grad_(False)
    return found


def model_optimizer(model: Any, blocks: Tensor) -> list[Tensor]:
    """Score by NVIDIA Model Optimizer's L2NormHook, which reads activations [length, sequences, neurons]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not been tried with this transformers
        from modelopt.torch.prune.importance_hooks import L2NormHook

    hooks = [L2NormHook() for _ in model.model.layers]
    handles = [
        layer.mlp.down_proj.register_forward_hook(
            lambda module, inputs, output, hook=hook: hook(module, (inputs[0].transpose(0, 1),), output)
        )
        for layer, hook in zip(model.model.layers, hooks, strict=True)
    ]
    with torch.no_grad():
        model(blocks)
    for handle in handles:
        handle.remove()
    return [hook.accumulate() for hook in hooks]


# --- published code that is no package ------------------------------------------------------------------


@torch.no_grad()
def flap(model: Any, blocks: Tensor) -> list[Tensor]:
    """FLAP's recurrence: the old and the new mean are one tensor there, and the first sequence adds nothing."""
    found = []
    for layer, h in zip(model.model.layers, activations(model, blocks), strict=True):
        mean = fluctuation = torch.zeros(h.shape[-1])
        for n, tokens in enumerate(h):
            mean = mean * n / (n + 1) + tokens.mean(0) / (n + 1)
            if n:
                fluctuation = fluctuation * (n - 1) / n + (tokens - mean).square().sum(0) / (n + 1)
        found.append(fluctuation * layer.mlp.down_proj.weight.square().sum(0))
    return found


@torch.no_grad()
def short_gpt(model: Any, blocks: Tensor) -> list[Tensor]:
    """ShortGPT's block influence, from the hidden states of transformers: the last is taken after the norm."""
    states = model(blocks, output_hidden_states=True).hidden_states
    cosines = [cosine_similarity(x, y, dim=-1).mean() for x, y in pairwise(states)]
    return [1 - torch.stack(cosines)]


def activations(model: Any, blocks: Tensor) -> list[Tensor]:
    """Return the inputs of every `down_proj` [sequences, length, neurons]."""
    caught: list[Tensor] = []
    handles = [
        layer.mlp.down_proj.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
        for layer in model.model.layers
    ]
    model(blocks)
    for handle in handles:
        handle.remove()
    return caught


PEERS = [
    *(
        Peer("optipfair", name, partial(optipfair, name), "magnitude", {"definition": definition})
        for name, definition in (
            ("MAW", "range"),
            ("VOW", "variance"),
            ("PON", "norm_product"),
            ("L2", "norm_sum"),
        )
    ),
    *(
        Peer(
            "torch-pruning",
            f"GroupMagnitudeImportance(p={p})",
            partial(torch_pruning, "GroupMagnitudeImportance", {"p": p}),
            "magnitude",
            {"definition": f"l{p}"},
        )
        for p in (1, 2)
    ),
    *(
        Peer(
            "torch-pruning",
            f"GroupTaylorImportance(multivariable={several})",
            partial(
                torch_pruning, "GroupTaylorImportance", {"group_reduction": "sum", "multivariable": several}
            ),
            "taylor",
            {"aggregation": form},
        )
        for several, form in ((False, "param_first"), (True, "vectorize"))
    ),
    Peer("nvidia-modelopt", "L2NormHook", model_optimizer, "minitron"),
]
BY_DESIGN = [
    Peer("FLAP", "WIFV", flap, "flap", scaled=True),
    Peer("ShortGPT", "block influence", short_gpt, "block_influence", units="layers"),
]


def compare(peers: list[Peer], model: Any, blocks: Tensor) -> pd.DataFrame:
    """Return a row for each peer, with `COLUMNS`; the overlap is the mean Jaccard index of the kept units."""
    mine = {
        units: score(
            {peer.ours: make_criterion(peer.criterion, peer.options, units=[units]) for peer in group},
            model,
            blocks,
            [units],
        )
        for units in ("neurons", "layers")
        if (group := [peer for peer in peers if peer.units == units])
    }
    return pd.DataFrame(
        (_row(peer, mine[peer.units][peer.ours].scores, model, blocks) for peer in peers), columns=COLUMNS
    )


def _row(peer: Peer, ours: Scores, model: Any, blocks: Tensor) -> tuple[str, str, str, float, float, float]:
    theirs = dict(zip(ours, (x.detach().double() for x in peer.scores(model, blocks)), strict=True))
    if peer.scaled:
        theirs = {place: x * ours[place].mean() / x.mean() for place, x in theirs.items()}
    # Without what is 0 on both sides: neurons that a student lacks.
    apart = torch.cat([((ours[at] - x) / x).abs()[(ours[at] != 0) | (x != 0)] for at, x in theirs.items()])
    plans = [make_plan(model, scores, RATIO) for scores in (ours, theirs)]
    kept = [jaccard(*(plan[place].numpy() for plan in plans)) for place in plans[0]]
    return peer.code, peer.name, peer.ours, float(apart.median()), float(apart.max()), sum(kept) / len(kept)


def page(model: Any, blocks: Tensor, about: str) -> str:
    """Return the page: both tables, with the versions that were compared."""
    packages = ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(peer.code for peer in PEERS))
    same, other = (
        compare(peers, model, blocks).to_markdown(index=False, floatfmt=("", "", "", ".0e", ".0e", ".3f"))
        for peers in (PEERS, BY_DESIGN)
    )
    return PAGE.format(about=about, packages=packages, same=same, other=other)


PAGE = """# Parity

`make parity` writes this page: our scores beside those of other code (`benchmarks/parity.py`), on the same model and tokens
({about}, in float32).
Differences are relative, over all units; overlap is the mean Jaccard index of the units kept at 20 %. [The authors' own code](../benchmarks/authors.md)
has a page of its own.

## The same scores

Peers' own packages ({packages}).
The differences are those of float32, and largest where a score is the absolute value of a sum that nearly cancels.

{same}

## Different by design

Published code that is no package, from its formulas; [criteria](criteria.md#flap-and-llm-pruner-whole) says what differs. FLAP's
scores are scaled to the mean of ours in each layer.

{other}
"""  # noqa: E501


def asked(description: str | None, out: str, clones: list[str], **text: int) -> tuple[Any, Tensor, str]:
    """Return the arguments of a comparison, the blocks that it reads, and what to say of model and text."""
    parser = argparse.ArgumentParser(description=description)
    for name in clones:
        parser.add_argument(name, type=Path, help="a clone of the repository")
    parser.add_argument("--model", type=Path, default=Path("resources/models/smollm2-135m-instruct-q4"))
    parser.add_argument("--corpus", type=Path, default=Path("resources/corpora/c4-sample"))
    parser.add_argument("--out", type=Path, default=ROOT / out)
    given = parser.parse_args()
    texts, tokenizer = read_corpus(given.corpus), load_tokenizer(given.model)
    blocks, _ = sample_blocks(texts, tokenizer, corpus=given.corpus.name, **TEXT | text)
    size = f"{len(blocks)} sequences of {blocks.shape[1]} tokens"
    return given, blocks.long(), f"`{given.model.name}`, {size} of `{given.corpus.name}`"


def main() -> None:
    """Compare, and write the page."""
    given, blocks, about = asked(__doc__, "docs/parity.md", [])
    model = load_model(given.model, "float32", torch.device("cpu"))
    given.out.write_text(page(model, blocks, about), encoding="utf-8")


if __name__ == "__main__":
    main()
