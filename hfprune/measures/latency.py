"""Speed of prefill and decoding, alternating with the dense model, and the work of a prefill."""

from __future__ import annotations

from functools import partial

from pydantic import Field, PositiveInt

from hfprune.cells import Value
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import DECODED, Measure, Metric, Outcome
from hfprune.seeds import derive_seed


class Latency(Measure):
    """Prefill of one random prompt and greedy decoding of a batch, after one warm-up round (paper, Table 4).

    `prefill_seconds` is the time from one prompt to its first new token. `decode_tokens_per_second` is over
    `new_tokens` steps with a KV cache after the prefill of `batch` prompts, past any EOS. `prefill_speedup`
    and `decode_speedup` are relative to the dense model, which alternates with the pruned one. `flops` are
    those of the prefill; `memory_bytes` those of the weights and of the KV cache after the prefill of `batch`
    prompts, both counted; these, and `parameters`, are of the model as it was cut, whatever `align` is. Times
    are medians over repeats, speed-ups are ratios of medians, and standard errors are from a bootstrap over
    repeats. One item per repeat. Quantised weights for which torch has no kernel are expanded in each pass, which
    says nothing of their speed: they get no times. In 8 bits the kernel takes few rows (`FEW`), and a prefill is
    timed with weights that it expands.
    """

    needs = "reference"
    version = 2
    recovered = False  # a merged adapter changes no shape
    exclusive = True
    capability = "Speed"

    prompt_tokens: PositiveInt = Field(default=256, description="tokens of a prompt")
    batch: PositiveInt = Field(default=8, description="prompts decoded at a time; prefill takes one")
    new_tokens: PositiveInt = Field(default=256, description="tokens decoded for each prompt")
    repeats: PositiveInt = Field(default=10, description="timed rounds, after one warm-up")
    align: PositiveInt = Field(
        default=1,
        description="fill up the MLPs of the pruned model in memory, while it is timed, to a width that is a "
        "multiple of this: in 16 bits a GPU has its fast kernels for multiples of 8",
    )

    def metrics(self) -> list[Metric]:
        """Return speed-ups, speeds, FLOPs and parameters."""
        timed = partial(Metric, repeatable=False)
        speedup = partial(timed, better="higher", shown="{:.2f}", effect="ratio")
        return [
            speedup("prefill_speedup", "Prefill speed-up"),
            speedup("decode_speedup", "Decode speed-up"),
            timed("prefill_seconds", "Prefill", "ms", better="lower", shown="{:.1f}", scale=1000),
            timed("decode_tokens_per_second", "Decode", "tokens/s", better="higher", shown="{:.1f}"),
            Metric("flops", "Prefill FLOPs", "TFLOPs", better="lower", shown="{:.3g}", scale=1e-12),
            Metric("parameters", "Parameters", "billion", better="lower", shown="{:.3g}", scale=1e-9),
            Metric("memory_bytes", "Weights and KV cache", "GB", better="lower", shown="{:.3g}", scale=1e-9),
        ]

    def tokens(self) -> float:
        """Return the tokens of all prompts, and what decoding counts."""
        return (1 + self.repeats) * ((1 + self.batch) * self.prompt_tokens + DECODED * self.new_tokens)

    def run(self, subject: Subject) -> Outcome:
        """Time the model, alternating with the dense one if there is one."""
        import pandas as pd
        import torch
        from tqdm import tqdm

        from hfprune.evaluation.timing import Timed, median_value, memory_bytes, prefill_flops
        from hfprune.models.aligned import aligned
        from hfprune.models.quantised import count_weights, quantised_layers

        model = subject.model
        quantised = quantised_layers(model)
        if quantised and self.align > 1:
            raise HfpruneError("latency.align: quantised weights cannot be filled up; leave align out")
        generator = torch.Generator().manual_seed(derive_seed(0, "latency"))
        shape = (self.batch, self.prompt_tokens)
        prompts = torch.randint(model.config.vocab_size, shape, generator=generator).to(model.device)
        rows = []
        with aligned(model, self.align):
            sides = {"": Timed(model, prompts)}
            if subject.has_dense:
                sides["dense_"] = Timed(subject.dense, prompts)
            for number in tqdm(range(1 + self.repeats), desc="latency", unit="round"):
                # A machine that slows down, or a warm processor cache, must not favour one side of a ratio.
                order = reversed(sides) if number % 2 else iter(sides)
                times = {side: sides[side].times(self.new_tokens) for side in order}
                rows.append({f"{side}{metric}": x for side in sides for metric, x in times[side].items()})
        items = pd.DataFrame(rows[1:])
        prefill, decode = "prefill_seconds", "decode_tokens_per_second"
        slow = any(not layer.fast for layer in quantised)
        values = [median_value(metric, items[metric]) for metric in (prefill, decode) if not slow]
        if subject.has_dense and not slow:
            for metric, top, bottom in (
                ("prefill_speedup", f"dense_{prefill}", prefill),
                ("decode_speedup", decode, f"dense_{decode}"),
            ):
                values.append(median_value(metric, items[top], items[bottom]))
                items[metric] = items[top] / items[bottom]
        values.append(Value("flops", float(prefill_flops(model, prompts[:1]))))
        values.append(Value("parameters", float(count_weights(model))))
        values.append(Value("memory_bytes", float(memory_bytes(model, sides[""].cache))))
        items.insert(0, "item", range(len(items)))
        return Outcome(values, items)
