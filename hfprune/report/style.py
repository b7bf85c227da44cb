"""Names, order and looks of methods, tasks and metrics, the same in every table and figure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Literal, NamedTuple
from zlib import crc32

from hfprune.cells import DENSE
from hfprune.study.labels import Label, readable

Marker = Any
"""A marker of matplotlib, or a tuple of the corners (x, y) of a closed shape."""


class Look(NamedTuple):
    """The look of a method; colour and marker carry the same information, so either is enough.

    Where markers repeat, `line` tells the methods apart that are drawn as lines, in greyscale too.
    """

    label: str
    colour: str
    marker: Marker
    line: Literal["-", "--", "-.", ":"] = "-"


def _closed(*corners: tuple[float, float]) -> Marker:
    return (*corners, corners[0])


# Shapes that matplotlib lacks: its others have no area, or look like a circle when they are small.
TALL = _closed((-0.5, -1), (0.5, -1), (0.5, 1), (-0.5, 1))
WIDE = _closed((-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5))
STAR = _closed((0, 1), (0.4, 0.4), (1, 0), (0.4, -0.4), (0, -1), (-0.4, -0.4), (-1, 0), (-0.4, 0.4))
BOW = _closed((-1, -1), (0, -0.3), (1, -1), (1, 1), (0, 0.3), (-1, 1))
GLASS = _closed((-1, -1), (1, -1), (0.3, 0), (1, 1), (-1, 1), (-0.3, 0))
ROOF = _closed((-1, -1), (0, -0.2), (1, -1), (1, 0.1), (0, 1), (-1, 0.1))
CUP = _closed((-1, 1), (0, 0.2), (1, 1), (1, -0.1), (0, -1), (-1, -0.1))
TEE = _closed((-1, 1), (1, 1), (1, 0.2), (0.4, 0.2), (0.4, -1), (-0.4, -1), (-0.4, 0.2), (-1, 0.2))
ELL = _closed((-1, 1), (-0.2, 1), (-0.2, -0.2), (1, -0.2), (1, -1), (-1, -1))

# Colours of Okabe and Ito, which colour-blind readers can distinguish too, then others as far from these as
# possible. Criteria look the same in all studies; each has a marker of its own.
METHODS = {
    name: Look(readable(name), colour, marker)
    for name, colour, marker in (
        (DENSE, "#000000", "D"),
        ("entropy", "#0072B2", "o"),
        ("entropy_attention", "#004A77", "p"),
        ("cross_entropy", "#D55E00", "s"),
        ("distillation", "#009E73", "^"),
        ("sdmprune", "#117733", "<"),
        ("sdmprune_30", "#5B9C6B", "<"),
        ("sdmprune_40", "#0B4F22", "<"),
        ("magnitude", "#E69F00", "v"),
        ("random", "#8C8C8C", "X"),
        ("llm_pruner", "#7F3C8D", "P"),
        ("loraprune", "#A5682A", "d"),
        ("lorap", "#B3446C", ">"),
        ("fisher", "#332288", TALL),
        ("taylor", "#AA4499", WIDE),
        ("wanda", "#CC79A7", STAR),
        ("flap", "#999933", BOW),
        ("minitron", "#44AA99", GLASS),
        ("shortgpt", "#661100", ELL),
        ("entropy_global", "#56B4E9", ROOF),
        ("entropy_squares", "#882255", CUP),
        ("entropy_aligned", "#6A7FDB", TEE),
    )
}
EXTRA_COLOURS = ["#E07B91", "#7BAFD4", "#B8A04A", "#5D3FA8", "#6B8E23", "#2F8F8B", "#8B5A2B", "#C45AB3"]
LINES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
EXTRA_MARKERS: list[Marker] = ["P", ELL, "d", ">", TEE, "h", ROOF, TALL, WIDE, STAR, BOW, GLASS, CUP]

RECOVERIES = {"none": "", "linear": "linear", "lora": "LoRA", "linear+lora": "linear, LoRA"}

# The verdicts that are drawn; "not run" and "not applicable" are not.
VERDICT_LOOKS = {
    "reproduced": Look("Reproduced", "#009E73", "o"),
    "leaning towards": Look("Leaning towards", "#8CCDB9", "^"),
    "contradicted": Look("Contradicted", "#D55E00", "X"),
    "leaning against": Look("Leaning against", "#F0B98C", "<"),
    "equivalent": Look("Equivalent", "#0072B2", "D"),
    "inconclusive": Look("Inconclusive", "#8C8C8C", "s"),
    "one draw": Look("One draw", "#BDBDBD", "v"),
    "not testable": Look("Not testable", "#5B5B5B", "P"),
}


def looks(methods: Iterable[str], own: Mapping[str, Label] | None = None) -> dict[str, Look]:
    """Return the look of each method: the well-known first, then the others by name.

    `own` are the labels and colours of the study. Any other method has the look that its name gives it, or the
    next that no other method of the study has; so call this once for all methods of a study.
    """
    own, present = own or {}, set(methods)
    drawn = {name: look for name, look in METHODS.items() if name in present}
    used_colours = {label.colour.upper() for label in own.values()}
    colours = [colour for colour in EXTRA_COLOURS if colour not in used_colours] or EXTRA_COLOURS
    choices = [*product(colours, EXTRA_MARKERS)]
    for name in sorted(present - METHODS.keys()):
        used = [Counter(look[part] for look in drawn.values()) for part in (1, 2)]
        pairs = {look[1:3] for look in drawn.values()}
        # The first free one, starting at a place that the name decides.
        start = crc32(name.encode()) % len(choices)
        colour, marker = min(
            (*choices[start:], *choices[:start]),
            key=lambda pair: (pair in pairs, used[1][pair[1]], used[0][pair[0]]),
        )
        drawn[name] = Look(readable(name), colour, marker)
    shown: dict[str, Look] = {}
    repeated: Counter[Marker] = Counter()
    for name, look in drawn.items():
        label, colour = own.get(name, Label("", ""))
        line = LINES[repeated[look.marker] % len(LINES)]
        repeated[look.marker] += 1
        shown[name] = Look(label or look.label, colour or look.colour, look.marker, line)
    return shown


def method_label(look: Look, recovery: str) -> str:
    """Return the label of a method, with its recovery if any."""
    recovered = RECOVERIES.get(recovery, recovery)
    return f"{look.label} + {recovered}" if recovered else look.label


def recovery_label(recovery: str) -> str:
    """Return the label of a recovery; that of `none` is `no recovery`."""
    return RECOVERIES.get(recovery, recovery) or "no recovery"
