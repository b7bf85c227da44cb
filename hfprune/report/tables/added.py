"""Effects that the study asks for beside those of every study."""

from hfprune.report.cells import calibration_columns, present, ratio_column, texts, words
from hfprune.report.effects import effects_of
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.style import method_label
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.results.reader import Results
from hfprune.study import paths
from hfprune.study.added_effects import ADDED


class Added(TablePublication):
    """The rows of each file in `hfprune/effects/added/` that the study names."""

    order = 19
    reads = (paths.EFFECTS,)
    empty = "The study asks for no such effects, or nothing was measured for them."

    def make(self, data: Results) -> Table:
        """Lay out one row per effect, in the order of the study's `effects`."""
        places = {ADDED.load(name).question: place for place, name in enumerate(data.study.effects)}
        rows = data.effects[data.effects["question"].isin(places)]
        rows = rows.assign(place=rows["question"].map(places)).sort_values(["model", "place"], kind="stable")
        rows = rows.drop(columns="place").reset_index(drop=True)
        looks, outcomes = looks_of(data), data.declared.first_outcomes()

        def side(method: str, recovery: str, calibration: str = "") -> str:
            label = method_label(looks[method], recovery) if method else ""
            text = data.study.calibrations[calibration].label or calibration if calibration else ""
            return ", ".join(filter(None, [label, text])) or MISSING

        effects = [*rows.itertuples()]
        columns = [
            Column("Question", [row.question.replace("_", " ") for row in effects], words=True),
            ratio_column(rows),
            *calibration_columns(rows),
            Column("Method", [side(row.method, row.recovery) for row in effects], words=True),
            Column(
                "Against",
                [side(row.against, row.against_recovery, row.against_calibration) for row in effects],
                words=True,
            ),
            Column(
                "Outcome",
                [outcomes[row.outcome].label if row.outcome in outcomes else row.label for row in effects],
                words=True,
            ),
            Column("Of", [task.replace("_", " ") or MISSING for task in rows["task"]], words=True),
            Column("Effect", [str(effect) for effect in effects_of(rows)]),
            Column("Unit", [unit or MISSING for unit in words(rows["unit"])], words=True),
            Column("No effect", texts(rows["neutral"], "{:g}")),
            Column("Covers", [covers or MISSING for covers in rows["covers"]], words=True),
            Column("n", texts(rows["n"], "{:,.0f}")),
        ]
        notes = [
            "Question: as in `effects.csv`. Of: a task, a text, or what else the effect is of. In brackets: 95 % "
            "interval. *: no effect is excluded also by Holm's correction, where the effects are of a family."
        ]
        return Table(rows, present(columns), notes, groups=("model", "question"))
