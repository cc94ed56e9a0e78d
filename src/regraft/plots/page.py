"""Pages: how text enters them, and what all of them share."""

import re

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from regraft.errors import printable

_CODE = re.compile(r"`([^`]+)`")


def page_environment(package: str) -> Environment:
    """Return what renders the templates of `package`, with those that all pages share.

    Text is shown by `as_text`; within an attribute of a tag, templates put it through the filter `attribute`.

    Args:
        package: that has a folder `templates`.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("regraft.plots")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=as_text,
    )
    environment.filters["attribute"] = as_attribute
    return environment


def as_text(value: object) -> object:
    """Return text as a page shows it: what stands in backticks as code, and no character that turns or forges text.

    What is markup already, and what is no text, stays as it is.

    >>> as_text("`regraft fit` < 3"), as_text(3)
    (Markup('<code>regraft fit</code> &lt; 3'), 3)
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    escaped = str(escape(printable(value)))  # `re` joins the parts of markup by escaping them once more
    return Markup(_CODE.sub(r"<code>\1</code>", escaped))


def as_attribute(value: str) -> Markup:
    """Return text for an attribute of a tag, where nothing can be set as code.

    >>> as_attribute('"a" by `b`')
    Markup('&#34;a&#34; by b')
    """
    return escape(_CODE.sub(r"\1", printable(value)))


def drawn(chart: str, label: str) -> Markup:
    """Return a chart for the page, with a text for those who cannot see it."""
    named = Markup('<svg role="img" aria-label="{}"').format(label)
    return named + Markup(chart.removeprefix("<svg"))
