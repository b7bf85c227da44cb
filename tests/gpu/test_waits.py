"""How often loops wait for the device: bounded for each batch, and the same however many layers a model has.

A wait costs what the host would have queued meanwhile: a loop that waits for every layer starves a card.
"""

import json
import shlex
from pathlib import Path

import pytest
from conftest import build_tiny
from gpu.conftest import FEW
from gpu.simulator import Call, Machine
from smoke import build_tokenizer

pytestmark = pytest.mark.thorough

TEXT = "--corpus heldout --length 32 --batch-tokens 32 --sequences N --out OUT"
SCORE = (
    "score --blocks blocks.safetensors --sequences N --batch-tokens 32 --out OUT/s.safetensors --criterion"
)
PAIRS = "--instructions resources/instructions/pairs --batch-tokens 1280 --out OUT/a --options"
TRAIN = json.dumps(FEW | {"held_out": 0, "max_steps": "N"}).replace('"N"', "N")
ONE = "--prompt-tokens 8 --batch 1 --new-tokens N --repeats 1 --out OUT"
# By loop: a command that goes round N times, two such numbers, and the most waits a round.
LOOPS = {
    # Between the marks 8 and 12. Transformers waits once a forward pass, where it looks for packed sequences.
    "score entropy": (f"{SCORE} entropy", (9, 11), 1),
    # Two passes over the blocks: one that chooses the student's neurons, and one of teacher and student.
    "score distillation": (f"{SCORE} distillation", (9, 11), 3),
    "score taylor": (f"{SCORE} taylor", (9, 11), 1),
    "score flap": (f"{SCORE} flap", (9, 11), 1),
    # Both models, and the dense one's states out and in.
    "fidelity": (f"measure fidelity --plan PLAN {TEXT}", (4, 8), 7),
    # Tokens in and losses out, besides.
    "perplexity": (f"measure perplexity {TEXT}", (4, 8), 3),
    "distributions": (f"measure distributions {TEXT}", (4, 8), 1),
    # Loss and gradient's norm, which are logged, and one of the Trainer's.
    "recover": (f"recover {PAIRS} '{TRAIN}'", (4, 8), 3),
    "latency": (f"measure latency {ONE}", (4, 8), 3),
}


@pytest.fixture(scope="session")
def models(cpu: Machine, project: Path) -> dict[int, str]:
    """Models by their number of layers, and a plan of each."""
    for layers in (2, 4):
        tokenizer, folder = build_tokenizer(), project / f"layers{layers}"
        build_tiny("llama", vocab_size=len(tokenizer), num_hidden_layers=layers).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model, scores = ("--model", folder), folder / "scores.safetensors"
        cut = ("--scores", scores, "--ratio", 0.15, "--out", f"{folder}.safetensors")
        cpu.call("score", *model, "--criterion", "magnitude", "--out", scores, here=project)
        cpu.call("plan", *model, *cut, here=project)
    return {layers: f"layers{layers}" for layers in (2, 4)}


@pytest.mark.parametrize("name", LOOPS)
def test_waits_are_bounded_for_each_batch_and_not_by_layers(
    name: str, gpus: Machine, project: Path, models: dict[int, str], tmp_path: Path
) -> None:
    command, rounds, most = LOOPS[name]

    def run(layers: int, number: int) -> Call:
        out = tmp_path / f"{layers}-{number}"
        out.mkdir()
        plan = f"{models[layers]}.safetensors"
        words = command.replace(" N", f" {number}").replace("OUT", str(out)).replace("PLAN", plan)
        return gpus.call(*shlex.split(words), "--model", models[layers], here=project)

    waits = []
    for layers in models:
        few, many = (run(layers, number).total("syncs") for number in rounds)
        waits.append((many - few) / (rounds[1] - rounds[0]))
    assert waits[1] <= waits[0] <= most, "no layer waits"


# Waits a batch of requests without a common prefix, by model and by so many chunks of logits a batch.
READ = """
import json, sys, simcuda, torch
from hfprune.evaluation.lm import PrefixTreeLM
from hfprune.models import head
found = []
for name in sys.argv[1:]:
    lm = PrefixTreeLM(name, batch_tokens=1, device="cuda")
    for chunks in (1, 3):
        head.head_chunk = lambda model: 6 // chunks
        waits = []
        for number in (4, 12):
            before = simcuda.c.counts()["syncs"]
            requests = [(("", ""), [n], [1, 2, 3, 4, 5, n]) for n in range(number)]
            lm._loglikelihood_tokens(requests, disable_tqdm=True)
            waits.append(simcuda.c.counts()["syncs"] - before)
        found.append((waits[1] - waits[0]) / 8)
try:
    found = torch.ones(2, device="cuda") + torch.ones(2)
except RuntimeError as error:
    assert "same device" in str(error)
print(json.dumps(found))
"""


def test_waits_of_answers_are_bounded_for_each_batch(
    gpus: Machine, project: Path, models: dict[int, str]
) -> None:
    """Tokens with positions, mask, and where answers stand in; log-probabilities and hits out."""
    waits = json.loads(gpus.python(READ, *models.values(), here=project))
    assert len(waits) == 4 and len({*waits}) == 1 and 0 < waits[0] <= 6
