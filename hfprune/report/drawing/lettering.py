"""How much room letters take."""

from textwrap import wrap as lines

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path


def points_of(size: float | str) -> float:
    """Return a font size of a style, which may be a word, in points."""
    return FontProperties(size=size).get_size_in_points()


def fit(text: str, width: float, size: float | str | None = None) -> str:
    """Break a text into lines of at most `width` inches; lines that it has already stay apart."""
    points = points_of(rcParams["axes.titlesize"] if size is None else size)

    def broken(line: str) -> str:
        # Lines may hold narrower letters than the text does on average, but not by so much.
        letters = min(len(line), int(1.5 * len(line) * width / max(inches(line, points), 0.01)))
        while letters > 8 and any(inches(part, points) > width for part in lines(line, letters)):
            letters -= 1
        return "\n".join(lines(line, letters)) if line else ""

    return "\n".join(map(broken, text.split("\n")))


def inches(text: str, size: float) -> float:
    """Return the width of a line of text in points `size`."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) / 72
