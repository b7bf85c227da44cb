"""The data of the table of methods and its figures, which the reader filters in the page."""

from collections.abc import Sequence
from typing import Any

from hfprune.report.comparison import effects_shown
from hfprune.report.figures.drawing import focus
from hfprune.report.page.study import Measured, StudyResults
from hfprune.report.style import looks, recovery_label

COLUMNS = (
    *("study", "model", "method", "family", "ratio", "recovery", "measure", "value", "low", "high"),
    *("shown", "interval", "n", "draws", "effect", "effect_shown", "effect_interval", "standing"),
    *("reference", "differs", "source"),
)
# Matplotlib's markers, which the other figures have, as Vega's shapes.
SHAPES = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "D": "diamond",
    "d": "diamond",
}
SHAPES |= {"<": "triangle-left", ">": "triangle-right", "P": "cross"}
SHAPES |= {"X": "M-1,-.5L-.5,-1L0,-.5L.5,-1L1,-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0Z"}
SHAPES |= {
    "p": "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
}


def data(studies: Sequence[StudyResults]) -> dict[str, Any]:
    """Return every value of every study, the meanings of measures, and the looks of methods."""
    names: dict[str, dict[str, Any]] = {}
    rows: list[list[Any]] = []
    for study in studies:
        effects = effects_shown(study.declared)
        for place, meaning in study.meanings.items():
            known = meaning._asdict() | {"effect": getattr(effects.get(meaning.effect), "heading", "")}
            names.setdefault(_key(place), known | {"first": place == study.headline})
        rows += _rows(study)
    own = {method: label for study in reversed(studies) for method, label in study.labels.items()}
    order = looks({method for study in studies for method in study.looks}, own)
    methods = {
        method: {
            "label": look.label,
            "colour": look.colour,
            "shape": SHAPES.get(look.marker, "circle"),
        }
        for method, look in order.items()
    }
    at = [focus(study.values.dropna(subset="ratio")) for study in studies if study.headline]
    shown_first = {"focus": min(at, default=None)}
    return {"columns": COLUMNS, "rows": rows, "measures": names, "methods": methods} | shown_first


def _rows(study: StudyResults) -> list[list[Any]]:
    values = study.values.sort_values("recovery", key=lambda names: names != "none", kind="stable")
    keys = values[["measure", "metric", "task"]].itertuples(index=False, name=None)
    table = values.assign(
        study=study.name,
        family=values["method"].map(study.families),
        recovery=values["recovery"].map(recovery_label),
        measure=[_key(Measured(*key)) for key in keys],
    )
    table = table[[*COLUMNS]].astype(object)
    return table.where(table.notna(), None).to_numpy().tolist()


def _key(place: Measured) -> str:
    return ".".join(filter(None, place))
