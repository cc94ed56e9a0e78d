from pathlib import Path

import pytest

from regraft.data.taxonomy_file import read_taxonomy
from regraft.errors import DataError

TREE = {"benign": None, "malignant": None, "nevus": "benign", "melanoma": "malignant", "carcinoma": "malignant"}


def read(folder: Path, text: str | bytes, name: str = "tree.yaml") -> dict[str, str | None]:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_taxonomy(file)[0].parents


@pytest.mark.parametrize(
    "text",
    [
        "benign:\n  nevus:\nmalignant:\n  melanoma:\n  carcinoma:\n",
        "benign: nevus\nmalignant: [melanoma, carcinoma]",
        "- benign:\n    - nevus\n- malignant:\n    - melanoma:\n    - carcinoma: ~\n",
        "# a comment\n---\n{benign: {nevus: null}, malignant: {melanoma: {}, carcinoma: []}}\n...\n",
        '{"benign": ["nevus"], "malignant": {"melanoma": null, "carcinoma": {}}}',
        b"\xef\xbb\xbfbenign: nevus\r\nmalignant:\r\n- melanoma\r\n- carcinoma\r\n",
        "benign: nevus\nmalignant: [melanoma, carcinoma]".encode("utf-16"),
    ],
)
def test_names_in_names(tmp_path: Path, text: str | bytes) -> None:
    assert read(tmp_path, text) == TREE


def test_names_in_yaml_stay_text(tmp_path: Path) -> None:
    """YAML's own types would make 01 the number 1, yes and NO booleans, 1e3 a number, and a date of the last."""
    text = "1: [01, yes, NO, 1e3, 2024-01-01, 'null', on]"
    assert list(read(tmp_path, text)) == ["1", "01", "yes", "NO", "1e3", "2024-01-01", "null", "on"]


@pytest.mark.parametrize(
    "text",
    [
        "child,parent\nnevus,benign\nmelanoma,malignant\ncarcinoma,malignant\n",
        "nevus,benign\nmelanoma,malignant\ncarcinoma,malignant\nbenign,\nmalignant,\n",
        "\ufeffParent;ICD;Child\nbenign;1;nevus\nmalignant;2;melanoma\nmalignant;3;carcinoma\n",
        "child,parent\nnevus,benign\nnevus,benign\nmelanoma,malignant\n\ncarcinoma,malignant\n",
        "child,parent\nnevus,benign\nmelanoma,malignant\ncarcinoma,malignant\n".encode("utf-16"),
    ],
)
def test_a_table_of_child_and_parent(tmp_path: Path, text: str | bytes) -> None:
    found = read(tmp_path, text, "tree.csv")
    assert found == TREE


def test_a_table_with_tabs_and_accents_of_windows(tmp_path: Path) -> None:
    (tmp_path / "tree.tsv").write_bytes("child\tparent\nnävus\tgutartig\n".encode("cp1252"))
    tree, notes = read_taxonomy(tmp_path / "tree.tsv")
    assert tree.parents == {"gutartig": None, "nävus": "gutartig"}
    assert "Windows-1252" in notes[0]


def test_two_unicode_forms_are_one_name(tmp_path: Path) -> None:
    assert read(tmp_path, "child,parent\nnu\u0308ss,b\nn\u00fcss , b\n", "tree.csv") == {"b": None, "n\u00fcss": "b"}
    with pytest.raises(DataError, match=r"line 2: 'n\u00fcss' stands below nothing, and in line 1 below 'b'"):
        read(tmp_path, "b: nu\u0308ss\nn\u00fcss:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "tree.yaml: the tree has no classes"),
        ("# nothing\n", "the tree has no classes"),
        ("a: {b: c}\nd: [c]", "line 2: 'c' stands below 'd', and in line 1 below 'b'. A node has one place"),
        ("a: [a]", "line 1: 'a' stands below 'a', and in line 1 below nothing"),
        ("a:\n- b\n- b", "line 3: 'b' stands below 'a', and in line 2 below 'a'"),
        ("a: &x [b]\nc: *x", "line 1: aliases (& and *) are not read"),
        ("a: *x", "line 1: aliases (& and *) are not read"),
        ("hello", "line 1: a tree is names in names. Got one text alone"),
        ("a: b\n---\nc: d", "line 2: a second document begins"),
        ("a: {b", "it is no YAML: "),
        ("? [a, b]\n: c", "line 1: a name must be text"),
        ("a: [b, ~]", "line 1: a name is empty"),
        ("' ': b", "line 1: a name is empty"),
        ("a: \x01", "it is no YAML: unacceptable character"),
        (b"a: b\nn\xe4vus: b", "line 2: it is not UTF-8 text"),
    ],
)
def test_what_is_no_tree_is_named_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError) as raised:
        read(tmp_path, text)
    assert said in str(raised.value)
    assert "tree.yaml" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("child,parent\n", "the tree has no classes"),
        ("child,parent\na,b\nb,a", "circle: a < b < a"),
        ("child,parent\na,b\nc,b\na,c\n", "line 4: 'a' stands below 'c', and in line 2 below 'b'"),
        ("child,parent\na,b\n,b\n", "line 3: a name is empty"),
        ("a\nb\n", "two columns, child and parent. Got 1: a"),
        ("a,b,c\nd,e,f\n", "two columns, child and parent. Got 3: a, b, c"),
        ("diagnosis,kind\na,b\nc,b\n", "no other line has the names of line 1 (diagnosis, kind)"),
    ],
)
def test_tables_that_are_no_tree(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError) as raised:
        read(tmp_path, text, "tree.csv")
    assert said in str(raised.value)
    assert "tree.csv" in str(raised.value)


def test_nothing_in_a_file_is_executed_or_multiplied(tmp_path: Path) -> None:
    assert read(tmp_path, "a: !!python/object/apply:os.system [rm]") == {"a": None, "rm": "a"}
    bomb = "\n".join(f"x{k}: &x{k} [*x{k - 1}, *x{k - 1}]" if k else "x0: &x0 [y]" for k in range(40))
    with pytest.raises(DataError, match="aliases"):
        read(tmp_path, bomb)


def test_a_deep_file(tmp_path: Path) -> None:
    found = read(tmp_path, "\n".join(" " * k + f"n{k}:" for k in range(300)))
    assert len(found) == 300
    assert found["n299"] == "n298"
    rows = "child,parent\n" + "".join(f"n{k},n{k - 1}\n" for k in range(1, 1500))
    assert len(read(tmp_path, rows, "tree.csv")) == 1500


def test_a_file_that_is_too_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.data.taxonomy_file._MAX_DEPTH", 20)
    assert read(tmp_path, "[" * 20 + "a" + "]" * 20) == {"a": None}
    with pytest.raises(DataError, match=r"line 1: it is more than 20 levels deep"):
        read(tmp_path, "[" * 21)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tree.txt: a tree of classes is a .yaml file"):
        read(tmp_path, "a: b", "tree.txt")
    with pytest.raises(DataError, match=r"none.yaml does not exist"):
        read_taxonomy(tmp_path / "none.yaml")
