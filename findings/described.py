"""What the file of a study says, and how well the dense model does in it, in sentences for docs/findings.md."""

from collections.abc import Sequence
from textwrap import fill

from statements import MODELS, read

from hfprune.recovery.settings import Recovery
from hfprune.results import DENSE
from hfprune.settings import load
from hfprune.study.labels import labels
from hfprune.study.layout import study_file
from hfprune.study.study import Study

WIDTH = 127
GLUE = "\N{NO-BREAK SPACE}"
# How often a guess is right: one over the number of choices.
CHANCE = {"arc_challenge": 1 / 4, "arc_easy": 1 / 4, "openbookqa": 1 / 4, "social_iqa": 1 / 3}
CHANCE |= {"boolq": 1 / 2, "piqa": 1 / 2, "winogrande": 1 / 2}


def about(name: str) -> str:
    """Return what a study's file says: models, ratios, methods, draws, calibration, recovery and measures."""
    study = load(Study, study_file(name))
    models = [
        f"{MODELS[model]} at {series([f'{r:.0%}'[:-1] for r in study.ratios_of(model)])} %, "
        f"{_plans(study, model)} plans of {len(study.methods_of(model))} methods"
        for model in study.models
    ]
    calibration = study.calibration
    corpora = dict.fromkeys(study.corpus_of(method) for method in study.methods)
    draws = f"{len(study.seeds)} draw{'s' * (len(study.seeds) > 1)}"
    if calibration.resamples:
        draws += f" and {calibration.resamples} resamples"
    part = {name: method.sequences for name, method in study.methods.items() if method.sequences}
    read_by = ""
    if part:
        names = [labels(study)[name].label for name in part]
        who = (
            "criteria read"
            if len(part) == len(study.methods)
            else f"{series(names)} read{'s' * (len(part) == 1)}"
        )
        read_by = f", of which {who} {series([f'{count}' for count in dict.fromkeys(part.values())])}"
    texts = series([f"`{corpus}`" for corpus in corpora])
    parts = [
        *models,
        f"{draws} of {calibration.sequences} sequences of {calibration.length} tokens of {texts}{read_by}",
        *([_trained(study.recovery)] if study.recovery and "lora" in study.recoveries else []),
        *(f"`{kind}` {_size(measure.settings)}".strip() for kind, measure in study.measures.items()),
    ]
    told = [f"[`{name}`](../config/studies/{name}.yaml): {'; '.join(parts)}."]
    told += [accuracy(name)] if "zeroshot" in study.measures else []
    return wrapped(f"*{' '.join(told)}*").replace("\n  ", "\n")


def _plans(study: Study, model: str) -> int:
    """Return how many plans a study makes of a model under each seed."""
    chosen = [study.methods[name].ratios or study.ratios_of(model) for name in study.methods_of(model)]
    return sum(len({*ratios} & {*study.ratios_of(model)}) for ratios in chosen)


def _trained(recovery: Recovery) -> str:
    """Return how much LoRA reads."""
    tokens = (recovery.max_steps or 0) * recovery.batch * recovery.length
    return f"LoRA on {tokens:,} tokens of `{recovery.instructions}` in {recovery.max_steps} steps"


def _size(settings: dict) -> str:
    """Return how much a measure reads."""
    each = settings.get("documents")
    many = f"up to {each} questions each" if each else "all questions"
    if tasks := settings.get("tasks"):
        return f"({', '.join(tasks)}; {many})"
    if groups := settings.get("groups"):
        return f"({sum(map(len, groups.values()))} tasks, {many})"
    if "corpus" in settings:
        return f"({settings['sequences']} crops of {settings['length']} tokens of `{settings['corpus']}`)"
    return ""


def series(parts: Sequence[str]) -> str:
    """Return parts as a list within a sentence."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def accuracy(study: str) -> str:
    """Say how often the dense model is right, as it is and after recovery, and how often a guess is."""
    table = read(study, "results.csv").dropna(subset="seed")
    table = table[(table["method"] == DENSE) & (table["measure"] == "zeroshot")]
    # The last is the normalised one, where there is one.
    table = table[table["metric"].isin(["acc", "acc_norm"])].sort_values("metric")
    best = table.groupby(["model", "recovery", "seed", "task"], sort=False)["value"].last()
    means = best.groupby(["model", "recovery"], sort=False).mean()
    guess = 100 * sum(CHANCE[task] for task in table["task"].unique()) / table["task"].nunique()
    said = [f"{100 * value:.1f} % on {model} {recovery}" for (model, recovery), value in means.items()]
    return f"Right answers of the dense model: {', '.join(said)}; of a guess: {guess:.1f} %."


def wrapped(line: str) -> str:
    """Return a bullet in lines of `WIDTH`, with no number at the end of one and its % on the next."""
    glued = line.replace(" %", f"{GLUE}%")
    lines = fill(glued, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines.replace(GLUE, " ")
