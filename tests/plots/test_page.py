"""How text enters a page: what stands in backticks as code, and nothing that could be taken for markup."""

import pytest
from jinja2 import DictLoader
from markupsafe import Markup

from regraft.plots.page import as_attribute, as_text, page_environment


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`regraft fit` and `top`", "<code>regraft fit</code> and <code>top</code>"),
        ("`a < b` & <c>", "<code>a &lt; b</code> &amp; &lt;c&gt;"),
        ("a`b.jpg", "a`b.jpg"),  # a name, and no code
        ("``", "``"),
        ("a\x1b[2J\u202eb", "a\\x1b[2J\\u202eb"),
    ],
)
def test_text_of_a_page(text: str, shown: str) -> None:
    assert as_text(text) == shown
    assert isinstance(as_text(text), Markup)


def test_markup_and_numbers_stay_as_they_are() -> None:
    assert as_text(Markup("<b>`x`</b>")) == "<b>`x`</b>"
    assert as_text(0.5) == 0.5


def test_within_an_attribute_there_is_no_markup() -> None:
    assert as_attribute('"x" `y` <z>\u202e') == "&#34;x&#34; y &lt;z&gt;\\u202e"


def test_every_expression_of_a_template_enters_so() -> None:
    environment = page_environment("regraft.explain")
    environment.loader = DictLoader({"page": '<p title="{{ text | attribute }}">`kept` {{ text }}</p>{{ part }}'})
    shown = environment.get_template("page").render(text="`a` & b", part=Markup("<hr>"))
    assert shown == '<p title="a &amp; b">`kept` <code>a</code> &amp; b</p><hr>'
