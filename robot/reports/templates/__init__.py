"""The pages of reports as Jinja2 templates. Whatever they quote is text: visible, in one line, and never HTML."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from robot.core.text import visible


def render(template: str, **values: object) -> str:
    """Return the page that a template of this folder makes of `values`.

    Raises jinja2.UndefinedError for a value that the template asks for and does not get.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _shown(value: object) -> object:
    """Return what stands in a page for a value: text as a reader sees it, before it is quoted as HTML."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
