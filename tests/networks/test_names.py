"""Which networks a user named: joined, or one of them to be chosen; and what does not go together."""

import re
from pathlib import Path

import pytest

from regraft.errors import ModelError, OptionError
from regraft.networks.names import NetworkNames, joined_name, parts_of_name, read_names


def test_names_are_read_from_one_or_several() -> None:
    assert read_names(None) == NetworkNames()
    assert read_names("a") == NetworkNames(("a",))
    assert read_names(["a", "b"]) == NetworkNames(("a", "b"))
    assert read_names("auto") == NetworkNames((), choose=True)
    assert read_names(("a", "auto", "b")) == NetworkNames(("a", "b"), choose=True)
    with pytest.raises(ModelError, match=r"^model names no network\. Name one or several, or leave it out\.$"):
        read_names([])


def test_several_are_joined_unless_one_is_to_be_chosen() -> None:
    assert read_names(["a", "b"]).joined
    assert not read_names(["auto", "a", "b"]).joined
    assert not read_names("a").joined
    named = [read_names(one).in_words for one in (None, "a", ["a", "b"], "auto", ["auto", "a", "b"])]
    assert named == ["", "a", "a + b", "auto", "auto (a, b)"]


def test_a_joined_name_is_taken_apart_again() -> None:
    names = ["local-dir:/home/ann/a", "b"]
    assert parts_of_name(joined_name(names), 2) == names
    assert parts_of_name("local-dir:c + d", 1) == ["local-dir:c + d"]
    assert parts_of_name("c + d + e", 2) == ["c + d + e, network 1", "c + d + e, network 2"]  # one holds a " + "


@pytest.mark.parametrize(
    ("named", "weights", "message"),
    [
        (["a", "b", "a"], False, "model names the same network twice: a. Name each network once."),
        (["auto", "a"], False, "model='auto' chooses one of several networks. Got one, a. Leave auto out to take it"),
        (None, True, "weights is a file of one network: name it with model."),
        (["a", "b"], True, "weights is a file of one network. Got 2 networks (model). Leave weights out, or name one"),
        ("auto", True, "weights is a file of one network. Got model='auto'. Leave weights out, or name one network."),
    ],
)
def test_what_does_not_go_together(named: list[str] | str | None, weights: bool, message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}"):
        read_names(named).check(weights=weights)


def test_a_folder_is_the_same_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=r"names the same network twice: local-dir:\./net\."):
        read_names(["local-dir:net", "local-dir:./net"]).check(weights=False)
    read_names(["local-dir:net", "net"]).check(weights=False)
