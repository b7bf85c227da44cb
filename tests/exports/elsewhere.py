"""What a user's own program does with exports: run in a process and an environment of its own.

Prints the version of transformers, and writes logits and tokens of every folder that it is given.
"""

import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

text, out, *folders = sys.argv[1:]
found = {}
for folder in folders:
    tokens = AutoTokenizer.from_pretrained(folder)(text).input_ids
    model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values()), loading
    with torch.no_grad():
        found[folder] = {"tokens": tokens, "logits": model.eval()(torch.tensor([tokens])).logits[0].tolist()}
with open(out, "w") as file:  # noqa: PTH123
    json.dump(found, file)
print(transformers.__version__)
