"""A tree of classes in a file: YAML, or a table of child and parent."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.data.csv_table import CSV_SUFFIXES, read_csv_table
from regraft.data.samples import clean_name
from regraft.data.taxonomy import MAX_NODES, Taxonomy
from regraft.errors import DataError, printable
from regraft.files import read_regular

YAML_SUFFIXES = (".yaml", ".yml", ".json")  # JSON is YAML
_MAX_BYTES = 20_000_000
_MAX_DEPTH = 1_000
_NULLS = ("", "~", "null", "Null", "NULL")  # as YAML writes nothing
_CHILD, _PARENT = "child", "parent"

Edge = tuple[int, str, str | None]  # line, node, the node above it


def read_taxonomy(file: Path) -> tuple[Taxonomy, list[str]]:
    """Return the tree of classes in a file, and what was assumed of the file, in words.

    YAML holds names in names: mappings and lists at any depth; every name is text, so that 01, 1 and yes are "01", "1"
    and "yes". A table (.csv, .tsv) has two columns, child and parent, in this order or called so.

    Raises:
        DataError: no such file, no tree, two parents of one node, or a circle; with the file, and the line.
    """
    file = Path(file)
    suffix = file.suffix.lower()
    if suffix not in (*CSV_SUFFIXES, *YAML_SUFFIXES):
        raise DataError(
            f"{printable(file)}: a tree of classes is a .yaml file of names in names, or a .csv or .tsv table of child "
            "and parent. Name it so."
        )
    notes: list[str] = []
    edges = _table_edges(file, notes) if suffix in CSV_SUFFIXES else _yaml_edges(file)
    parents: dict[str, str | None] = {}
    lines: dict[str, int] = {}
    for line, node, parent in edges:
        name, above = _clean(file, line, node), None if parent is None else _clean(file, line, parent)
        if name in lines and (parents[name] != above or suffix in YAML_SUFFIXES):
            raise DataError(
                f"{printable(file)}, line {line}: {name!r} stands below {_said(above)}, and in line {lines[name]} "
                f"below {_said(parents[name])}. A node has one place in the tree: give one of them another name."
            )
        lines.setdefault(name, line)
        parents[name] = above
        if len(parents) > MAX_NODES:
            raise DataError(f"{printable(file)}: it has more than {MAX_NODES:,} nodes.")
    for name in [above for above in parents.values() if above is not None]:
        parents.setdefault(name, None)
    try:
        return Taxonomy(parents), notes
    except DataError as error:
        raise DataError(f"{printable(file)}: {error}") from None


def _clean(file: Path, line: int, name: str) -> str:
    if not name.strip():
        raise DataError(f"{printable(file)}, line {line}: a name is empty.")
    return clean_name(name)


def _said(name: str | None) -> str:
    return "nothing" if name is None else repr(name)


def _table_edges(file: Path, notes: list[str]) -> Iterator[Edge]:
    """Yield the rows of a table of child and parent; an empty parent is none."""
    table = read_csv_table(file)
    notes += table.notes
    names = [name.casefold() for name in table.columns]
    rows = [(line, list(row)) for line, row in zip(table.lines, table.rows, strict=True)]
    if {_CHILD, _PARENT} <= set(names):
        child, parent = names.index(_CHILD), names.index(_PARENT)
    elif len(names) != 2:
        raise DataError(
            f"{printable(file)}: a tree of classes has two columns, child and parent. Got {len(names)}: "
            f"{printable(', '.join(table.columns[:10]))}. Call two of them child and parent, or leave out the others."
        )
    else:
        child, parent = 0, 1
        others = {cell for _, row in rows for cell in row}
        if rows and all(table.columns) and not others & set(table.columns):  # a header, or a pair by itself
            raise DataError(
                f"{printable(file)}: no other line has the names of line 1 ({printable(', '.join(table.columns))}). If "
                "that is a header, call the columns child and parent; if not, add a first line child,parent."
            )
        rows.insert(0, (1, list(table.columns)))
    if not rows:
        raise DataError(f"{printable(file)}: the tree has no classes.")
    for line, row in rows:
        yield line, row[child], row[parent] or None


def _yaml_edges(file: Path) -> Iterator[Edge]:
    """Yield the nodes of a YAML file, each with the one above it.

    Its events are read one by one: nothing is made of them, names stay text, no depth is too much for Python, and an
    alias, by which a small file can become a huge one, is refused.
    """
    import yaml

    text = _text(file)
    try:
        events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        yield from _nodes_of(file, events)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise DataError(f"{printable(file)}{line}: it is no YAML: {printable(problem)}.") from None


@dataclass
class _Open:
    """A mapping or list whose end has not come.

    Attributes:
        node: what it is below.
        is_mapping: or a list.
        key: of a mapping, whose value comes next.
    """

    node: str | None
    is_mapping: bool
    key: str | None = None


def _nodes_of(file: Path, events: Iterator[Any]) -> Iterator[Edge]:
    import yaml

    opened: list[_Open] = []
    documents = 0
    for event in events:
        line = event.start_mark.line + 1
        within = opened[-1] if opened else _Open(None, False)
        is_key, is_value = within.is_mapping and within.key is None, within.key is not None
        above, within.key = within.key if is_value else within.node, None
        problem = _problem(event, len(opened), documents, is_key=is_key)
        if problem:
            raise DataError(f"{printable(file)}, line {line}: {problem}")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Open(above, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            opened.pop()
        elif isinstance(event, yaml.ScalarEvent):
            nothing = not event.style and event.value in _NULLS
            if is_key or not (nothing and (is_value or not opened)):
                yield line, "" if nothing and not is_key else event.value, above
            within.key = event.value if is_key else None


def _problem(event: Any, depth: int, documents: int, *, is_key: bool) -> str:
    """Return in words why this part of a YAML file is none of a tree, else ""."""
    import yaml

    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        return "aliases (& and *) are not read. Write the names out."
    if isinstance(event, yaml.DocumentStartEvent) and documents:
        return "a second document begins (---). A tree is one."
    if isinstance(event, yaml.CollectionStartEvent) and is_key:
        return "a name must be text, and not made of several."
    if isinstance(event, yaml.CollectionStartEvent) and depth >= _MAX_DEPTH:
        return f"it is more than {_MAX_DEPTH:,} levels deep."
    if isinstance(event, yaml.ScalarEvent) and not depth and (event.style or event.value not in _NULLS):
        return "a tree is names in names. Got one text alone."
    return ""


def _text(file: Path) -> str:
    """Return the text of a YAML file: UTF-8, or UTF-16 by its byte order mark."""
    try:
        data = read_regular(file, limit=_MAX_BYTES)
    except FileNotFoundError:
        raise DataError(f"{printable(file)} does not exist. Name the file of the tree of classes.") from None
    except OSError as error:
        raise DataError(f"{printable(file)} cannot be read: {error.strerror or error}.") from None
    encoding = "UTF-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "UTF-8-sig"
    try:
        return re.sub(r"\r\n?", "\n", data.decode(encoding))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{printable(file)}, line {line}: it is not {encoding.removesuffix('-sig')} text. Save it as UTF-8."
        ) from None
