"""A model whose weights lie on several devices, in main memory or on disk, by the hooks of accelerate.

Offloaded weights are on the meta device. A hook reads them from main memory or from the checkpoint before the
module runs, and drops them afterwards.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def is_offloaded(model: "PreTrainedModel") -> bool:
    """Tell whether weights of a loaded model are in main memory while a GPU computes, or on disk."""
    return any(parameter.is_meta for parameter in model.parameters())


def device_of(module: nn.Linear) -> torch.device:
    """Return the device on which a module computes; that of its weight, unless it is offloaded."""
    hook: Any = getattr(module, "_hf_hook", None)
    return torch.device(hook.execution_device) if module.weight.is_meta and hook else module.weight.device


@contextmanager
def onloaded(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Hold the weights of modules in memory while the block runs, if they are offloaded."""
    from accelerate.utils import align_module_device

    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(align_module_device(module))
        yield


def hold_ends(model: "PreTrainedModel") -> None:
    """Hold the embedding and the head in memory for good.

    The head reads the positions of a batch in chunks, and would be read from disk for each. Tokens go in where
    the embedding lies: `model.device`.
    """
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    tied = head.weight is embedding.weight
    _hold(embedding)
    _hold(head)
    if tied:
        head.weight = embedding.weight


def _hold(module: nn.Module) -> None:
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
    from accelerate.utils import has_offloaded_params

    if not has_offloaded_params(module):
        return
    device = module._hf_hook.execution_device  # type: ignore[union-attr]
    with onloaded([module]):
        held = {name: nn.Parameter(x.detach(), requires_grad=False) for name, x in module.named_parameters()}
    remove_hook_from_module(module)
    module._parameters.update(held)
    add_hook_to_module(module, AlignDevicesHook(device))  # moves there what the module reads


@contextmanager
def recomputed(model: "PreTrainedModel") -> Iterator[None]:
    """Let the backward pass compute each layer of an offloaded model again, while the block runs.

    Autograd would keep the weights of all layers until the end of the backward pass. Here they are read again, one
    layer at a time, and only the inputs of the layers are kept.
    """
    layers: Any = model.model.layers if is_offloaded(model) else []
    forwards = [layer.forward for layer in layers]
    for layer, forward in zip(layers, forwards, strict=True):
        layer.forward = partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
    try:
        # A layer that stopped early would leave its last weights behind: the hook that drops them would not run.
        with set_checkpoint_early_stop(False):
            yield
    finally:
        for layer, forward in zip(layers, forwards, strict=True):
            layer.forward = forward
