"""What a user's own program does with exports: run in a process and an environment of its own, without hfprune.

Runs the code in the card of every folder that it is given, prints the version of transformers, and writes the
logits and tokens of each.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

text, out, *folders = sys.argv[1:]
found = {}
for folder in folders:
    (code,) = re.findall(r"```python\n(.*?)```", Path(folder, "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("THIS_FOLDER", folder), names)
    model, tokens = names["model"], names["tokenizer"](text).input_ids
    if "load" not in names:  # which is strict itself
        _, loading = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not any(loading.values()), loading
    with torch.no_grad():
        found[folder] = {"tokens": tokens, "logits": model.eval()(torch.tensor([tokens])).logits[0].tolist()}
assert "hfprune" not in sys.modules
Path(out).write_text(json.dumps(found))
print(transformers.__version__)
