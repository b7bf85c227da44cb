"""A pruned model beside its dense model: the numbers that say what was lost and what was won."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfprune.results import DENSE


@dataclass(frozen=True)
class Row:
    """One number before and after."""

    group: str
    name: str
    before: float | None
    """`None` where the dense model has none, as for the distance to itself."""
    after: float
    shown: str
    better: str
    """`lower` or `higher`."""
    stderr: float | None = None
    """Of `after`."""
    n: int | None = None

    @property
    def change(self) -> str:
        """The relative change, in per cent."""
        return f"{self.after / self.before - 1:+.1%}" if self.before else ""

    def words(self) -> list[str]:
        """Return name, before, after and change, to be printed."""
        before = "" if self.before is None else self.shown.format(self.before)
        return [self.name, before, self.shown.format(self.after), self.change]


# (measure, task, metric) → value.
_Values = dict[tuple[str, str, str], dict[str, Any]]
HEADERS = ["", "before", "after", "change"]
_QUALITY, _CAPABILITY, _SIZE, _SPEED = "Quality", "Bits per byte of right answers", "Size", "Speed"


def compare(
    results: Iterable[dict[str, Any]], parameters: tuple[int, int], weights: tuple[int, int]
) -> list[Row]:
    """Return the comparison of a pruned model with its dense model.

    Args:
        results: of both models, as `hfprune.results.read_result` reads them, from the measures perplexity,
            fidelity, gold_bpb and latency; others are passed over.
        parameters: of the dense and the pruned model.
        weights: bytes of their files of weights.
    """
    dense: _Values = {}
    pruned: _Values = {}
    timed = 0
    for result in results:
        side = dense if result["cell"]["method"] == DENSE and result["cell"]["recovery"] == "none" else pruned
        side |= {(result["measure"], result["task"], value["metric"]): value for value in result["values"]}
        timed = result["provenance"]["settings"].get("prompt_tokens", timed)
    # The measure times both models in turns; its speed-ups are ratios of the two medians.
    for metric, speedup, power in (
        ("prefill_seconds", "prefill_speedup", 1),
        ("decode_tokens_per_second", "decode_speedup", -1),
    ):
        if ("latency", "", speedup) in pruned:
            after, ratio = pruned["latency", "", metric], pruned["latency", "", speedup]["value"]
            dense["latency", "", metric] = after | {"value": after["value"] * ratio**power}

    def rows(group: str, measure: str, metric: str, name: str, shown: str, scale: float = 1) -> list[Row]:
        keys = [key for key in pruned if (key[0], key[2]) == (measure, metric)]
        return [
            Row(
                group,
                name.format(key[1].replace("_", " ")),
                scale * dense[key]["value"] if key in dense else None,
                scale * pruned[key]["value"],
                shown,
                "higher" if metric.endswith("per_second") else "lower",
                None if pruned[key]["stderr"] is None else scale * pruned[key]["stderr"],
                pruned[key]["n"],
            )
            for key in keys
        ]

    size, file_size = "parameters", "file size of the weights, MB"
    # Another dtype, or padding, changes the size as well as pruning does.
    wide, narrow = (stored / count for stored, count in zip(weights, parameters, strict=True))
    if abs(narrow / wide - 1) > 0.02:
        file_size += f" ({wide:.1f} → {narrow:.1f} bytes a parameter)"
    return [
        *rows(_QUALITY, "perplexity", "perplexity", "perplexity on {}", "{:,.2f}"),
        *rows(_QUALITY, "fidelity", "js_distance", "JS distance to the dense model on {}", "{:.3f}"),
        *rows(_CAPABILITY, "gold_bpb", "bpb", "bits per byte, {}", "{:.3f}"),
        Row(_SIZE, size, parameters[0], parameters[1], "{:,.0f}", "lower"),
        Row(_SIZE, file_size, weights[0] / 1e6, weights[1] / 1e6, "{:,.1f}", "lower"),
        *rows(_SPEED, "latency", "prefill_seconds", f"prefill of {timed} tokens, ms", "{:,.1f}", 1000),
        *rows(_SPEED, "latency", "decode_tokens_per_second", "decoding, tokens a second", "{:,.1f}"),
    ]


def weight_bytes(folder: Path) -> int:
    """Return the bytes of the files of weights in a folder."""
    files = [*folder.glob("*.safetensors"), *folder.glob("*.gguf")]
    return sum(file.stat().st_size for file in files)
