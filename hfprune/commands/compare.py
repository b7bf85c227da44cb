"""Compare two models on the same questions: output folders of lm-eval with --log_samples, or two checkpoints.

Checkpoints are measured on --tasks as by `hfprune measure zeroshot`; the answers stay in the folder `compared`. Of
lm-eval's output, --tasks compares these alone. With --margin, the exit code is 1 unless the low end of the 95 %
interval of B - A, of the mean over tasks, lies above minus the margin (non-inferiority).
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat

from hfprune.assets.places import resources_folder
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file, require_writable
from hfprune.measurement import NamedMeasure, Questions
from hfprune.stages import Command, Inline, Positional
from hfprune.stages.fields import Computing, Resources

MEASURED = Path("compared")


class CompareTwo(Command, Computing):
    """The models or outputs of lm-eval to compare, and the margin of non-inferiority."""

    example: ClassVar = "hfprune compare output-of-a output-of-b --margin 1"

    a: Annotated[Path, Positional("A")] = Field(description="output folder of lm-eval, or a model as --model")
    b: Annotated[Path, Positional("B")] = Field(description="the same of the other model")
    questions: Annotated[Questions | None, Inline()] = None
    margin: PositiveFloat | None = Field(default=None, description="points by which B may be worse than A")
    resources: Resources = Field(default_factory=resources_folder)
    out: Path | None = Field(default=None, description="file for the comparison: Markdown, or .json")

    def run(self) -> None:
        """Print the comparison as Markdown; the exit code is 1 where B is not shown to be within the margin."""
        from hfprune.assets.resolving import resolve
        from hfprune.comparison.answered import read_logged
        from hfprune.comparison.two_results import conclusions, effects, shown

        if self.out:
            require_writable(self.out)
        a, b = read_logged(self.a), read_logged(self.b)
        if self.questions and not a and not b:
            # Both are found first, so that a mistake in the second costs no measuring.
            folders = [resolve("models", model, self.resources) for model in (self.a, self.b)]
            a, b = (self._measured(self.questions, *side) for side in zip(folders, "AB", strict=True))
        if not a or not b:
            empty = self.b if a else self.a
            what = "no samples of lm-eval (--log_samples) there" if empty.is_dir() else "no such folder"
            raise HfpruneError(f"{empty}: {what}; two models take --tasks")
        table = effects(a, b, [*self.questions.by_name()] if self.questions else [], self.margin)
        said, within = conclusions(table, self.margin)
        text = "\n\n".join([f"A: {self.a}, B: {self.b}", shown(table), *said]) + "\n"
        print(text, end="")
        if self.out:
            about = {"a": str(self.a), "b": str(self.b), "margin": self.margin, "within_margin": within}
            about["effects"] = table.astype(object).where(table.notna(), None).to_dict("records")
            with atomic_file(self.out) as temporary:
                temporary.write_text(json.dumps(about, indent=2) if self.out.suffix == ".json" else text)
        if within is False:
            sys.exit(1)

    def _measured(self, questions: Questions, folder: Path, name: str) -> Any:
        from hfprune.comparison.answered import read_measured
        from hfprune.stages.measure import MeasureCells, ToMeasure

        out = MEASURED / name
        measures = {"zeroshot": NamedMeasure(settings=questions.model_dump(exclude_unset=True))}
        job = MeasureCells(model=folder, dtype=self.dtype, measures=measures, cells=[ToMeasure(out=out)])
        print(f"{folder}: the answers are kept in {out}", file=sys.stderr)
        with redirect_stdout(sys.stderr):
            job.model_copy(update={"resources": self.resources}).run()
        return read_measured(out / "zeroshot", questions.by_name())
