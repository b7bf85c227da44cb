"""Compare two models on the same questions: two outputs of lm-eval with --log_samples, or two checkpoints.

Checkpoints are measured on --tasks, as by `hfprune measure tasks`. Their answers are kept in the folder named as
--out without its ending, or in `compared/A--B`. Of lm-eval's outputs, --tasks chooses the tasks to compare. With
--margin, the exit code is 1 unless the 95 % interval of B - A, averaged over tasks, lies above minus the margin
(non-inferiority).
"""

import json
import os
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field, PositiveFloat

from hfprune.assets.places import resources_folder
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file, require_writable
from hfprune.measurement import NamedMeasure
from hfprune.measures.tasks import Tasks
from hfprune.stages import Command, Inline, Positional
from hfprune.stages.fields import Computing, Resources

if TYPE_CHECKING:
    from hfprune.comparison.answered import Answers
    from hfprune.stages.measure import MeasureCells

# Folder of measured answers without --out.
MEASURED = Path("compared")


def _ending(out: Path) -> Path:
    """Require an ending, without which the name is that of the answers' folder."""
    if out.suffix not in (".md", ".json"):
        raise ValueError(f"must be a file ending in .md or .json, not {os.fspath(out)!r}")
    return out


class CompareTwo(Command, Computing):
    """The models or outputs of lm-eval to compare, and the margin of non-inferiority."""

    example: ClassVar = "hfprune compare output-of-a output-of-b --margin 1"

    a: Annotated[Path, Positional("A")] = Field(
        description="output folder of lm-eval, or a model: a name, a folder, a .gguf file or a hub id"
    )
    b: Annotated[Path, Positional("B")] = Field(description="the same for the other model")
    questions: Annotated[Tasks | None, Inline()] = None
    margin: PositiveFloat | None = Field(default=None, description="points by which B may be worse than A")
    resources: Resources = Field(default_factory=resources_folder)
    out: Annotated[Path, AfterValidator(_ending)] | None = Field(
        default=None,
        description="file of the comparison, .md or .json; measured answers are kept in the folder of "
        "the same name without the ending (compared/A--B)",
    )

    def run(self) -> None:
        """Print the comparison as Markdown; the exit code is 1 where B is not shown to be within the margin."""
        from hfprune.comparison.answered import read_logged
        from hfprune.comparison.two_results import as_json, commonest_answers, conclusions, effects, shown

        if self.out:
            require_writable(self.out)
        a, b = read_logged(self.a), read_logged(self.b)
        if self.questions and not a and not b:
            a, b = self._answers(self.questions)
        if not a or not b:
            empty = self.b if a else self.a
            what = "no samples of lm-eval (--log_samples) there" if empty.is_dir() else "no such folder"
            raise HfpruneError(f"{empty}: {what}; two models take --tasks")
        rows = effects(a, b, [*self.questions.by_name()] if self.questions else [])
        answers = commonest_answers(a, b, rows)
        sentences, within = conclusions(rows, self.margin)
        parts = [f"A: {self.a}, B: {self.b}", shown(rows, answers, self.margin), *sentences]
        text = "\n\n".join(parts) + "\n"
        print(text, end="")
        if self.out:
            about = {"a": str(self.a), "b": str(self.b), "margin": self.margin, "within_margin": within}
            whole = about | as_json(rows, answers, self.margin) | {"conclusions": sentences}
            with atomic_file(self.out) as temporary:
                temporary.write_text(json.dumps(whole, indent=2) if self.out.suffix == ".json" else text)
        if within is False:
            sys.exit(1)

    def _answers(self, questions: Tasks) -> "list[Answers]":
        """Measure both models and return their answers; print the expected time first."""
        from hfprune.assets.resolving import resolve
        from hfprune.comparison.answered import read_measured
        from hfprune.comparison.kept import claim
        from hfprune.cost.foretold import about, reading_minutes

        # All assets are resolved first, so that a mistake in the second model costs no measuring.
        models = {side: resolve("models", at, self.resources) for side, at in (("A", self.a), ("B", self.b))}
        for task in questions.tasks:
            resolve("tasks", task, self.resources)
        names = [_name(model) for model in models.values()]
        folder = self.out.with_suffix("") if self.out else MEASURED / "--".join(names)
        settings = questions.model_dump(include={"documents", "add_bos", "shots", "chat"}) | {
            "dtype": self.dtype
        }
        jobs = {side: self._job(questions, model, folder / side) for side, model in models.items()}
        for job in jobs.values():
            job.check()
        claim(folder, models, questions.by_name(), settings)
        tokens = {side: _unanswered(questions, folder / side) for side in models}
        with suppress(HfpruneError):  # an architecture whose operations are not counted
            if new := [(models[side], tokens[side]) for side in models if tokens[side]]:
                minutes = about(reading_minutes(new, self.dtype))
                print(f"{minutes} to answer, if the machine stays as fast as it is now", file=sys.stderr)
        for side, job in jobs.items():
            with redirect_stdout(sys.stderr):
                anew = job.run() is not False
            kept = "the answers are kept" if anew else "the answers were there,"
            print(f"{models[side]}: {kept} in {folder / side}", file=sys.stderr)
        return [read_measured(folder / side / "tasks", questions.by_name()) for side in jobs]

    def _job(self, questions: Tasks, model: Path, out: Path) -> "MeasureCells":
        from hfprune.stages.measure import MeasureCells, ToMeasure

        measures = {"tasks": NamedMeasure(settings=questions.model_dump(exclude_unset=True))}
        job = MeasureCells(model=model, dtype=self.dtype, measures=measures, cells=[ToMeasure(out=out)])
        return job.model_copy(update={"resources": self.resources})


def _unanswered(questions: Tasks, out: Path) -> float:
    """Return the tokens of the tasks whose answers are not in a side's folder."""
    answered = (out / "tasks" / f"{name}.json" for name in questions.by_name())
    open_tasks = [task for task, file in zip(questions.tasks, answered, strict=True) if not file.exists()]
    return questions.model_copy(update={"tasks": open_tasks}).tokens()


def _name(model: Path) -> str:
    """Return the name of a model's folder, with its parent for `hfprune prune`, whose models have one name."""
    *_, outer, name = ("", *model.resolve().parts)
    return f"{outer}-{name}" if name == "model" else name
