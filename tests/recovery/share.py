"""One of two processes that train together: `share.py STATE OUT STEP`; the second is killed at that step."""

import os
import signal
import sys
from pathlib import Path

import torch
from test_lora import SHARED, adapters, pruned, seventeen, train

from hfprune.models.device import is_main
from hfprune.recovery import lora as recovery

state, out, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
recovery.SAVE_SECONDS = 0
watch = recovery._Watch.on_log


def kill(self, args, state, control, **kwargs) -> None:
    if state.global_step == last and not is_main():
        os.kill(os.getpid(), signal.SIGKILL)
    watch(self, args, state, control, **kwargs)


recovery._Watch.on_log = kill
adapted, losses = train(pruned("qwen3"), seventeen(), state, **SHARED)
if is_main():
    torch.save((losses, adapters(adapted)), out)
