"""The effect of zeroing one neuron at a time on the dense model's output; scores estimate this effect."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import Metric, Outcome, TextMeasure
from hfprune.results import Value


class Ablation(TextMeasure):
    """KL(dense ‖ ablated) of the next-token distributions, in nats, for neurons drawn at random in every layer.

    One item per neuron: `layer`, `neuron`, and `damage`, the mean over positions. The value is the items'
    mean.
    """

    needs = "dense"
    dtype = "float32"  # one neuron moves logits by less than bfloat16 resolves

    neurons_per_layer: PositiveInt = Field(description="drawn at random; all if a layer has fewer")

    def metrics(self) -> list[Metric]:
        """Return the divergence."""
        return [Metric("damage", "KL divergence of one neuron", "nats", shown="{:.3g}")]

    def tokens(self) -> float:
        """Return the tokens of a pass for each neuron of thirty layers, in which half of the layers are read."""
        return super().tokens() * self.neurons_per_layer * 30 / 2

    def run(self, subject: Subject) -> Outcome:
        """Ablate; a killed run resumes from the sums in the subject's state folder."""
        from hfprune.evaluation.ablation import ablate, sample_neurons
        from hfprune.models.load import default_batch_tokens

        tokens, _ = subject.blocks(self)
        neurons = sample_neurons(subject.model, self.neurons_per_layer, seed=0)
        items = ablate(
            subject.model,
            tokens,
            neurons,
            self.batch_tokens or default_batch_tokens(),
            subject.state and subject.state / "sums.safetensors",
            subject.identity,
        )
        return Outcome([Value("damage", float(items["damage"].mean()), n=len(items))], items)
