"""Markdown, as GitHub and the Hugging Face hub show it: text that stays text, code, tables, lists of names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regraft.errors import printable
from regraft.files import atomic_write

# what may begin emphasis, code, a link, HTML, an entity, a formula, a symbol or a table's cell, or be part of an
# address, which would be made a link by itself; and what means something at the beginning of a line
_SPECIAL = re.compile(r"[\\`*_\[\]<|~&$@]|:(?=\S)|\.(?=[^\W\d])|^[-+=!>#]")
_CODE = re.compile(r"[\w .,;:/@+=<>()'\"-]+")  # what means nothing in code


def text(value: object) -> str:
    r"""Return text that is shown as it is, whatever is in it; without characters that turn or forge text.

    >>> print(text("golden retriever"), text("a_b <b>[x](y)"), text("a\nb"))
    golden retriever a\_b \<b>\[x\](y) a\\nb
    """
    return _SPECIAL.sub(r"\\\g<0>", printable(value).strip())


def code(value: object) -> str:
    r"""Return text as code, in a table, too.

    >>> print(code("regraft fit"), code("a`b|c"))
    `regraft fit` <code>a\`b\|c</code>
    """
    shown = printable(value).strip()
    return f"`{shown}`" if _CODE.fullmatch(shown) else f"<code>{text(shown)}</code>"


def code_block(lines: Sequence[str], language: str = "") -> list[str]:
    """Return lines of a program as a block; nothing in them ends it."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *map(printable, lines), fence]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> list[str]:
    """Return a table of cells that are Markdown already.

    Args:
        head: of each column.
        rows: of the table.
        numbers: columns whose cells stand at the right.
    """
    rules = ["---:" if column in numbers else "---" for column in range(len(head))]
    return [f"| {' | '.join(row)} |" for row in (head, rules, *rows)]


def listed(names: Sequence[str], most: int) -> str:
    """Return names in a sentence, the first `most` and how many more; between semicolons where one has a comma.

    >>> listed(["ant", "bee"], 5), listed(["ant, red", "bee"], 5), listed(["a", "b", "c"], 2)
    ('ant, bee', 'ant, red; bee', 'a, b and 1 more')
    """
    between = "; " if any("," in name for name in names) else ", "
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(map(text, names[:most])) + more


def write_text(path: Path, content: str) -> None:
    """Write text to a file, whole or not at all; what is no UTF-8 as escapes.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")


def plain(value: Any) -> str:
    r"""Return an argument of a program as text.

    >>> print(plain({"lr": 0.1}), plain([]), plain(None), plain("a_b"))
    lr 0.1 none none a\_b
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{text(key)} {plain(one)}" for key, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "none"
    return "none" if value is None else text(value) if isinstance(value, str) else str(value)
