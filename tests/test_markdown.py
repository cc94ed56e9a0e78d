"""Text in Markdown stays text, as another program reads it: markdown-it (CommonMark, with tables)."""

import pytest
from markdown_it import MarkdownIt
from tests.fixtures.pages import Page

from regraft import markdown

READ = MarkdownIt("commonmark").enable("table")
HOSTILE = [
    "a_b_c *d* __e__ ~~f~~",
    "[x](javascript:alert(1)) ![y](http://example.org/y.png)",
    "<script>alert(1)</script> &lt; <b>",
    "a|b | c\\|d",
    "`code` ``more`` \\`",
    "# head",
    "> quoted",
    "- item",
    "+ item",
    "=== ---",
    "http://example.org www.example.org a@example.org",
    "$x$ :smile: C:\\photos\\",
    "1,000 {{ value }} {% raw %}",
    "\\",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_shown_as_it_is(name: str) -> None:
    for page in (
        Page(READ.render(markdown.text(name))),
        Page(READ.render("\n".join(markdown.table(["a", "b"], [[markdown.text(name), "z"]])))),
        Page(READ.render(markdown.code(name))),
        Page(READ.render("\n".join(markdown.table(["a", "b"], [[markdown.code(name), "z"]])))),
        Page(READ.render("Classes: " + markdown.listed([name, "z"], 5))),
    ):
        assert name in page.text
        assert {tag for tag, _ in page.tags} <= {"p", "code", "table", "thead", "tbody", "tr", "th", "td"}
        assert len(page.all("td")) in (0, 2)


def test_text_cannot_forge_a_line_or_turn_others() -> None:
    assert markdown.text("a\n\n# b\u202e\x1b") == "a\\\\n\\\\n# b\\\\u202e\\\\x1b"
    page = Page(READ.render(markdown.text("a\n\n# b")))
    assert page.all("h1") == []
    assert "a\\n\\n# b" in page.text


def test_nothing_ends_a_block_of_code() -> None:
    lines = ["a", "```", "````` b", "<b>\n```"]
    page = READ.parse("\n".join(markdown.code_block(lines, "bash")))
    (block,) = page
    assert block.type == "fence"
    assert block.content == "a\n```\n````` b\n<b>\\n```\n"
