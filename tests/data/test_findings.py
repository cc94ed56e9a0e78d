"""Findings as data: their kinds, their JSON, their order."""

import json

from regraft.data.findings import HIGH, KINDS, LOW, MEDIUM, Finding, in_order


def test_json_has_what_is_known_and_nothing_else() -> None:
    plain = Finding("dark", LOW, ("a.jpg",), "look.")
    assert plain.to_json() == {"kind": "dark", "severity": "low", "files": ["a.jpg"], "advice": "look."}
    more = Finding("exact-duplicate", HIGH, ("a", "b"), "keep one.", ("splits",), {"probability": 0.5})
    expected = {"kind": "exact-duplicate", "severity": "high", "files": ["a", "b"], "advice": "keep one."}
    assert more.to_json() == {**expected, "across": ["splits"], "probability": 0.5}
    assert json.loads(json.dumps(more.to_json())) == more.to_json()


def test_the_severest_come_first_then_kinds_in_their_order_then_as_they_came() -> None:
    found = [
        Finding("dark", LOW, ("1",), ""),
        Finding("shortcut", MEDIUM, ("2",), ""),
        Finding("near-duplicate", HIGH, ("3",), ""),
        Finding("blurred", LOW, ("4",), ""),
        Finding("exact-duplicate", HIGH, ("5",), ""),
        Finding("near-duplicate", HIGH, ("6",), ""),
    ]
    assert "".join(one.files[0] for one in in_order(found)) == "536241"


def test_kinds_have_their_names_and_end_their_sentences() -> None:
    assert len(KINDS) == 12
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.title
        assert kind.why.endswith(".")
