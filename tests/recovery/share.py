"""One of two processes that train together: `share.py STATE OUT STEP`; the second is killed at that step."""

import os
import signal
import sys
from pathlib import Path

import torch
from test_lora import HELD_OUT, SHARED, adapters, follow, pruned, rows, seventeen

from hfprune.devices.lease import is_main
from hfprune.recovery import lora as recovery

state, out, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
recovery.SAVE_SECONDS = 0
watch = recovery._Watch.on_log


def kill(self, args, state, control, **kwargs) -> None:
    if state.global_step == last and not is_main():
        os.kill(os.getpid(), signal.SIGKILL)
    watch(self, args, state, control, **kwargs)


recovery._Watch.on_log = kill
held_out = rows(seventeen(), 0, HELD_OUT)
adapted, course = follow(pruned("qwen3"), seventeen(), state, held_out=held_out, **SHARED)
if is_main():
    torch.save((*course, adapters(adapted)), out)
