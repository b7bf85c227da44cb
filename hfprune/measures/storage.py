"""The bytes that a model's weights take."""

from __future__ import annotations

from hfprune.cells import Value
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import Measure, Metric, Outcome


class Storage(Measure):
    """Bytes of the weights on disk: those of a checkpoint in the form in which the model was loaded.

    Tied weights count once. Quantised weights count with their scales and the padding of groups and channels.
    """

    recovered = False  # a merged adapter changes no shape
    capability = "Size"

    def metrics(self) -> list[Metric]:
        """Return the bytes."""
        return [Metric("disk_bytes", "Weights on disk", "GB", better="lower", shown="{:.3g}", scale=1e-9)]

    def run(self, subject: Subject) -> Outcome:
        """Count."""
        from hfprune.models.quantised import bytes_of_weights

        return Outcome([Value("disk_bytes", float(bytes_of_weights(subject.model)))])
