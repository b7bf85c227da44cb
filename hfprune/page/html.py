"""Templates, and the texts of style sheet and script, of pages."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

_FOLDER = Path(__file__).parent


def template(name: str) -> Template:
    """Return a template of this folder, which escapes values and fails where one is missing."""
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)


def text(name: str) -> Markup:
    """Return a style sheet or a script of this folder, which templates do not escape."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))
