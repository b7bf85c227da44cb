"""The data of the table of methods and its charts, which the reader filters in the page."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hfprune.page.study import Quantity, StudyResults
from hfprune.page.vega import MOST, blank_chart, shape, vega_lite
from hfprune.report.charts import agreement_of_halves, focus
from hfprune.report.effects import effects_shown
from hfprune.report.measures import dotted
from hfprune.report.style import looks, recovery_label

COLUMNS = (
    *("study", "model", "method", "family", "ratio", "recovery", "measure", "value", "low", "high"),
    *("shown", "interval", "n", "draws", "effect", "effect_shown", "effect_interval", "standing"),
    *("reference", "differs"),
)
TOOLTIP = {"name": "Method", "removed": "Removed", "shown": "@title", "interval": "95 % interval"}
TOOLTIP |= {"against": "Against its reference", "n": "n", "draws": "Draws", "open": "Click"}


def data(studies: Sequence[StudyResults]) -> dict[str, Any]:
    """Return every value of every study, the meanings of measures, and the looks of methods."""
    names: dict[str, dict[str, Any]] = {}
    rows: list[list[Any]] = []
    for study in studies:
        effects = effects_shown(study.data.declared)
        for quantity, meaning in study.meanings.items():
            known = meaning._asdict() | {"effect": getattr(effects.get(meaning.effect), "heading", "")}
            names.setdefault(dotted(quantity), known | {"first": quantity == study.headline})
        rows += _rows(study)
    own = {method: label for study in reversed(studies) for method, label in study.data.labels.items()}
    order = looks({method for study in studies for method in study.data.tidy["method"]}, own)
    at = [focus(study.values.dropna(subset="ratio")) for study in studies if study.headline]
    return {
        "columns": COLUMNS,
        "rows": rows,
        "measures": names,
        "methods": {
            method: {"label": look.label, "colour": look.colour, "shape": shape(look.marker)}
            for method, look in order.items()
        },
        "focus": min(at, default=None),
        "chart": blank_chart(TOOLTIP),
        "most": MOST,
    }


def _rows(study: StudyResults) -> list[list[Any]]:
    values = study.values.sort_values("recovery", key=lambda names: names != "none", kind="stable")
    keys = values[[*Quantity._fields]].itertuples(index=False, name=None)
    table = values.assign(
        study=study.name,
        family=values["method"].map(study.families),
        recovery=values["recovery"].map(recovery_label),
        measure=[*map(dotted, keys)],
    )
    table = table[[*COLUMNS]].astype(object)
    return table.where(table.notna(), None).to_numpy().tolist()


def curves(study: StudyResults) -> Iterator[dict[str, Any]]:
    """Yield, for each model, the chart of the agreement of calibration halves by number of sequences."""
    for model, marks in study.data.marks.groupby("model", sort=False):
        if marks["sequences"].nunique() > 1:
            chart = agreement_of_halves(marks, study.data.looks)
            rows = chart.rows.assign(shown=chart.rows["value"].map("{:.3f}".format))
            tooltip = {"name": "Method", "place": chart.place.title, "shown": chart.value.title}
            spec = vega_lite(replace(chart, rows=rows), tooltip)
            yield {"study": study.name, "model": model, "chart": spec}
