"""Compare training of adapters, as `hfprune recover` does it, with peft in a plain loop of transformers.

Both read the same random sequences in the same order with the demo's settings, from the same first adapters.
Without dropout both must have the same losses. Prints the row of `bench.py`.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from peft import LoraConfig, get_peft_model
from sides import Row, against
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup, set_seed

from hfprune.models.load import default_training_tokens, load_model
from hfprune.recovery.lora import train_adapter
from hfprune.recovery.packing import IGNORED, Packed
from hfprune.recovery.settings import Lora

SEED, STEPS = 0, 3
SETTINGS = Lora(packing="plain", batch=2, length=256, max_steps=STEPS)


def sequences(model: PreTrainedModel) -> Packed:
    """Return random sequences in which every other run of 32 tokens is a response."""
    size = SETTINGS.batch * STEPS, SETTINGS.length
    tokens = torch.randint(0, model.config.vocab_size, size, generator=torch.Generator().manual_seed(SEED))
    positions = torch.arange(SETTINGS.length).expand(size)
    labels = tokens.where(positions // 32 % 2 == 1, IGNORED)
    return Packed(*(part.int() for part in (tokens, labels, positions)))


def plain(model: PreTrainedModel, packed: Packed, settings: Lora) -> list[float]:
    """Train in a plain loop, leave the model as it was, and return the losses."""
    set_seed(SEED)
    names = {"lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
    config = LoraConfig(r=settings.rank, target_modules=[*settings.targets], task_type="CAUSAL_LM", **names)
    adapted = get_peft_model(model, config).train()
    optimizer = torch.optim.AdamW(
        [weight for weight in adapted.parameters() if weight.requires_grad],
        settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, settings.warmup_steps, STEPS)
    order = torch.tensor([*SeedableRandomSampler(range(len(packed.tokens)), data_seed=SEED)])
    losses = []
    for rows in order.split(settings.batch):
        names = {"input_ids": packed.tokens, "labels": packed.labels, "position_ids": packed.positions}
        batch = {name: part[rows].long().to(model.device) for name, part in names.items()}
        loss = adapted(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    adapted.unload()
    return losses


def ours(model: PreTrainedModel, packed: Packed, settings: Lora) -> list[float]:
    """Train as `hfprune recover` does, leave the model as it was, and return the losses."""
    with TemporaryDirectory() as state:
        adapted, course = train_adapter(
            model, packed, settings, seed=SEED, batch_tokens=default_training_tokens(), state=Path(state)
        )
    adapted.unload()
    return course.losses


def rows(model: PreTrainedModel, repeats: int) -> Iterator[Row]:
    """Time both sides.

    Raises:
        SystemExit: the losses differ.
    """
    packed = sequences(model)
    exact = SETTINGS.model_copy(update={"dropout": 0.0})
    theirs, mine = plain(model, packed, exact), ours(model, packed, exact)  # also the warm-up
    if not np.allclose(theirs, mine, rtol=1e-4):
        raise SystemExit(f"recovery: losses {mine} differ from those of a plain loop, {theirs}")
    sides = (partial(side, model, packed, SETTINGS) for side in (plain, ours))
    yield against("recovery", f"{STEPS} steps of 512 tokens", *sides, repeats, warm_up=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("resources/models/smollm2-135m-instruct-q4"))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(*rows(load_model(arguments.model, "float32"), arguments.repeats))
