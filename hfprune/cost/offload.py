"""Layers that the device does not hold (`device_map`): every pass over them reads their weights again."""

from collections.abc import Mapping
from typing import NamedTuple, Self

from hfprune.cost.speed import READ
from hfprune.devices.table import Device
from hfprune.models.placement import size_in_bytes
from hfprune.models.shape import Shape

# The share of the free memory that transformers fills with weights (`get_max_memory`).
FILLED = 0.9
# Bytes a second from main memory to a GPU. PCI Express 4.0 carries 31.5e9 over 16 lanes (PCI-SIG); an assumption
# that copies of memory which is not pinned reach 40 % of that, since no GPU was at hand.
BUS = 0.4 * 31.5e9


class Offloaded(NamedTuple):
    """The layers that are not on the device, as accelerate places them: whole, the last ones."""

    in_memory: float
    """Layers in main memory while a GPU computes."""
    on_disk: float
    layer: float
    """Bytes of the weights of one layer."""

    @classmethod
    def of(cls, shape: Shape, width: int, device: Device, limits: Mapping[int | str, int | str]) -> Self:
        """Return the layers of a dense model that a device lacks room for.

        Args:
            shape: the dense model.
            width: bytes of a number.
            device: where it computes; of a GPU's machine, the main memory is taken to hold the rest.
            limits: `max_memory` of a study; empty for its default.
        """
        embedding = shape.head_weights * width
        layer = width * (shape.attention_weights + shape.mlp_weights)
        main, gpus = _room(device, limits)
        first, second = (gpus, main) if device.on_gpu else (main, 0.0)
        held = min(shape.layers, max(0.0, first - embedding) // layer)
        in_memory = min(shape.layers - held, second // layer)
        return cls(in_memory, shape.layers - held - in_memory, layer)

    @property
    def layers(self) -> float:
        """Layers that are not on the device."""
        return self.in_memory + self.on_disk

    def seconds(self, passes: float) -> float:
        """Return the time in which so many passes over all layers read these."""
        return passes * self.layer * (self.in_memory / BUS + self.on_disk / READ)


def _room(device: Device, limits: Mapping[int | str, int | str]) -> tuple[float, float]:
    """Return the bytes of weights that main memory and all GPUs take."""
    if not limits:
        whole = FILLED * device.memory
        return (1e18, whole) if device.on_gpu else (whole, 0.0)
    sizes = {name: float(size_in_bytes(size)) for name, size in limits.items()}
    main = sizes.pop("cpu", 0.0)
    if not device.on_gpu:
        return min(main, FILLED * device.memory), 0.0
    return main, sum(min(size, FILLED * device.memory) for size in sizes.values())
