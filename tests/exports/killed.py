"""Exports a model again and again, each time killed one step on the file system later, until one goes through.

Prints what is then in the folder each time: the files with their bytes, or nothing. The third argument is a folder
whose copy is replaced, or ""; with `card` as the fourth, only its model card is written anew.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch
from families import WIDTHS, build, cut

from hfprune.comparison.before_after import BeforeAfter, Sample
from hfprune.comparison.rows import PARAMETERS, effect_row
from hfprune.exports.checkpoint import export, write_card

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "shutil.rmtree"}
SIZE = effect_row(PARAMETERS, "pruned", (3, 2), None)
COMPARISON = BeforeAfter([SIZE], "pruned", [], Sample("One", "two", "three"))
source, out = map(Path, sys.argv[1:3])
earlier, *card = sys.argv[3:]
torch.set_num_threads(1)  # a fork has none of the others
model, found, status, last = cut(build("qwen2"), WIDTHS["unequal"]), [], 1, 0


def steps(event: str, given: tuple) -> None:
    global last
    if event in STEPS and (event != "open" or given[1] not in ("r", "rb", None)):
        last += 1
        if last > len(found):
            os.kill(os.getpid(), signal.SIGKILL)


while status:
    shutil.rmtree(out, ignore_errors=True)
    if earlier:
        shutil.copytree(earlier, out)
    child = os.fork()
    if not child:
        sys.addaudithook(steps)
        if card:
            write_card(out, source, COMPARISON)
        else:
            export(model, source, out)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    files = [path for path in out.rglob("*") if path.is_file()]
    found.append({str(path.relative_to(out)): path.read_bytes().hex() for path in files})
print(json.dumps(found))
