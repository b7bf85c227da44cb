"""Charts as Vega-Lite; `charts.js` draws them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hfprune.report.axis_ends import at_edge
from hfprune.report.charts import REMOVED, Axis, Chart
from hfprune.report.style import Marker

MOST = 8  # groups with a colour of their own; more could not be told apart
GREY = "#8C8C8C"
# Matplotlib's markers, which the other figures have, as Vega's shapes.
SHAPES = {
    **{"o": "circle", "s": "square", "D": "diamond", "d": "diamond", "P": "cross"},
    **{"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"},
    "X": "M-1,-.5L-.5,-1L0,-.5L.5,-1L1,-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0Z",
    "p": "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z",
    "*": "M0,-1L.22,-.31L.95,-.31L.36,.12L.59,.81L0,.38L-.59,.81L-.36,.12L-.95,-.31L-.22,-.31Z",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
}


def shape(marker: Marker) -> str:
    """Return a marker as Vega names or draws it; up is negative there."""
    if isinstance(marker, str):
        return SHAPES.get(marker, "circle")
    return "M" + "L".join(f"{x:g},{-y:g}" for x, y in marker) + "Z"


def vega_lite(chart: Chart, tooltip: Mapping[str, str]) -> dict[str, Any]:
    """Return a chart as Vega-Lite. The first `MOST` groups have colours; the others are grey.

    Args:
        chart: its rows may have columns beside those that it needs; `href` is a link.
        tooltip: column → title, for a point that is hovered.
    """
    groups = chart.rows["group"]
    looks = {group: look for group, look in chart.looks.items() if group in {*groups}}
    coloured = {group: looks[group] for group in [*looks][:MOST]}
    rows = chart.rows.assign(
        name=[looks[group].label for group in groups],
        own=groups.isin(coloured),
        other=~groups.isin(coloured),
        interval_known=groups.isin(coloured) & chart.rows["low"].notna(),
    )
    place: dict[str, Any] = {"field": "place", **_axis(chart.place)}
    if chart.names:
        rows["line"] = [chart.names[int(line)] for line in rows["place"]]
        place = {"field": "line", "type": "nominal", "sort": [*chart.names], "title": None}
    if chart.value.ends:
        rows = _within(rows, *chart.value.ends)
    values = rows.astype(object).where(rows.notna(), None).to_dict("records")
    if chart.neutral is not None:
        values.append({"level": True, "value": chart.neutral})
    names, colours, shapes = (
        [look.label for look in coloured.values()],
        [look.colour for look in coloured.values()],
        [shape(look.marker) for look in coloured.values()],
    )
    return _figure(values, _axis(chart.value), place, (names, colours, shapes), tooltip, bool(chart.names))


def blank_chart(tooltip: Mapping[str, str]) -> dict[str, Any]:
    """Return a chart of values against the ratio with holes, for rows that the reader chooses.

    `page.js` fills them: `@rows`, `@title`, `@scale`, `@ticks`, `@ends`, and the `@names`,
    `@colours` and `@shapes` of the methods with colours.
    """
    value = {"type": "quantitative", "title": "@title", "scale": "@scale"}
    place: dict[str, Any] = {"field": "place", "type": "quantitative", "title": REMOVED}
    place |= {"axis": {"values": "@ticks"}, "scale": {"domain": "@ends"}}
    return _figure("@rows", value, place, ("@names", "@colours", "@shapes"), tooltip, across=False)


def _within(rows: pd.DataFrame, low: float, high: float) -> pd.DataFrame:
    """Return rows of which those beyond the ends stand there, with the number in `edge_low` or `edge_high`."""
    ends = {"edge_low": (rows["value"] < low, low), "edge_high": (rows["value"] > high, high)}
    texts = {
        name: [
            at_edge(value, end) if there else None for value, there in zip(rows["value"], beyond, strict=True)
        ]
        for name, (beyond, end) in ends.items()
    }
    return rows.assign(**rows[["value", "low", "high"]].astype(float).clip(low, high), **texts)


def _axis(axis: Axis) -> dict[str, Any]:
    scale: dict[str, Any] = {"type": "log", "base": axis.log, "nice": False} if axis.log else {"zero": False}
    if axis.ends:
        scale |= {"nice": False, "padding": 12}
    found: dict[str, Any] = {"type": "quantitative", "title": axis.title.split("\n"), "scale": scale}
    return found | ({"axis": {"tickCount": 5}} if axis.ends else {})


def _figure(
    values: Any,
    value: dict[str, Any],
    place: dict[str, Any],
    looks: tuple[Any, Any, Any],
    tooltip: Mapping[str, str],
    across: bool,
) -> dict[str, Any]:
    """Return the layers: levels, other groups in grey, lines, intervals, points, and numbers at the edge."""
    names, colours, shapes = looks
    legend = {"orient": "top" if across else "bottom", "columns": 4} if any(names) else None
    look = {"field": "name", "type": "nominal", "title": None, "legend": legend}
    colour = {"color": look | {"scale": {"domain": names, "range": colours}}}
    shape = {"shape": look | {"scale": {"domain": names, "range": shapes}}}
    way, other = ("x", "y") if across else ("y", "x")
    at = {way: {"field": "value", **value}, other: place}
    reach = at | {way: {"field": "low", **value}, f"{way}2": {"field": "high"}}
    hover: dict[str, Any] = {
        "tooltip": [{"field": field, "title": title} for field, title in tooltip.items()]
    }
    hover |= {"href": {"field": "href"}} if "open" in tooltip else {}
    layers = [_layer("level", {"type": "rule", "strokeDash": [5, 4]}, {way: at[way]})]
    if not across:
        each = at | {"detail": {"field": "name"}}
        layers += [
            _layer("other", {"type": "line", "color": GREY, "opacity": 0.35}, each),
            _layer(
                "other",
                {"type": "point", "filled": True, "color": GREY, "opacity": 0.6, "size": 30},
                at | hover,
            ),
            _layer("own", {"type": "line", "strokeWidth": 1.5}, at | colour),
        ]
    point = {"type": "point", "filled": True, "size": 90 if across else 70, "opacity": 1}
    layers += [
        _layer(
            "interval_known",
            {"type": "rule", "strokeWidth": 2 if across else 1.5},
            reach | colour,
        ),
        _layer("own", point, at | colour | shape | hover),
    ]
    for name, side, by in (("edge_low", "left", 8), ("edge_high", "right", -8)) if across else ():
        text = {"type": "text", "align": side, "dx": by, "fontSize": 11}
        layers.append(_layer(name, text, at | {"text": {"field": name}}))
    return {"data": {"values": values}, "height": 22 * len(place["sort"]) if across else 300, "layer": layers}


def _layer(of: str, mark: dict[str, Any], encoding: dict[str, Any]) -> dict[str, Any]:
    """Return a layer of the rows with a column `of`; `charts.js` leaves out layers without rows."""
    return {"transform": [{"filter": f"datum.{of}"}], "mark": mark, "encoding": encoding}
