"""Findings in words: what each says, and how a list of them is shown."""

import numpy as np
import pytest
from tests.photo_audit.made import made

from regraft.data.findings import HIGH, LOW, MEDIUM, Finding
from regraft.evaluation.label_errors import LabelErrors
from regraft.photo_audit.cues import Cue
from regraft.photo_audit.held_out import HeldOutAnswers
from regraft.photo_audit.photos import AuditPhotos
from regraft.photo_audit.shortcuts import CueScore, Giveaway
from regraft.photo_audit.words import (
    expected_in_words,
    giveaway_in_words,
    label_findings,
    lines_of,
    outlier_findings,
    shortcut_findings,
    unreadable_findings,
)


def answers_of(photos: AuditPhotos, positions: list[int]) -> HeldOutAnswers:
    rows = np.array(positions)
    nothing = np.full((len(rows), 2), np.nan)
    return HeldOutAnswers(rows, photos.dataset(rows), np.full(len(rows), -1), nothing, np.ones(len(rows), dtype=bool))


def errors(wrong: list[float]) -> LabelErrors:
    n = len(wrong)
    return LabelErrors(np.arange(n), np.ones(n, dtype=int), np.full(n, 0.031), np.array(wrong))


def test_photos_that_cannot_be_read() -> None:
    assert unreadable_findings(made([0, 1])) == []
    (one,) = unreadable_findings(made([0] * 20, keys=[b"x"] * 18 + [b""] * 2))  # not more than a tenth
    assert (one.severity, one.files) == (MEDIUM, ("18.jpg", "19.jpg"))
    assert one.more == {"reasons": dict.fromkeys(one.files, "the file is empty")}
    assert one.advice == "the file is empty. Leave them out, or copy again what is damaged."
    (one,) = unreadable_findings(made([0] * 9, keys=[b"x"] * 8 + [b""]))
    assert (one.severity, one.advice) == (HIGH, "the file is empty. Leave them out, or copy again what is damaged.")


def test_a_label_that_is_likely_wrong() -> None:
    photos = made([1, 0, 0, 1, 0])
    found = label_findings(photos, answers_of(photos, [1, 2, 3, 4]), errors([0.5, 0.1, 0.099]))
    assert [one.severity for one in found] == [HIGH, MEDIUM, LOW]
    assert [one.files for one in found] == [("1.jpg",), ("2.jpg",), ("3.jpg",)]
    assert found[0].advice == "labelled a, looks like b (given label: 3%): look at it."
    assert found[0].more == {"label": "a", "suggested": "b", "probability": 0.031, "probability_wrong": 0.5}
    assert found[2].more["label"] == "b"


@pytest.mark.parametrize(("given", "said"), [(0.0, "0%"), (0.004, "0.4%"), (0.0099, "1.0%"), (0.25, "25%")])
def test_small_probabilities_are_not_rounded_away(given: float, said: str) -> None:
    photos = made([0, 1])
    labels = LabelErrors(np.array([0]), np.array([1]), np.array([given]), np.array([0.9]))
    (one,) = label_findings(photos, answers_of(photos, [0, 1]), labels)
    assert f"(given label: {said})" in one.advice


def cue_score(photos: AuditPhotos, *, of_file: bool, accuracy: float = 0.9) -> CueScore:
    has = photos.labels == 1
    giveaway = Giveaway(1, "are PNG", has, 1.0, 0.0, clear=False)
    return CueScore(Cue("file format", of_file, ()), accuracy, (accuracy - 0.1, 0.95), 0.5, giveaway)


def test_a_shortcut() -> None:
    photos = made([1, 0, 1, 0, 1])
    answers = answers_of(photos, [1, 2, 3, 4])  # photo 0 is of the test split, say
    scores = [cue_score(made([0, 1, 0, 1]), of_file=own) for own in (True, False)]
    in_file, in_pixels = shortcut_findings(photos, answers, scores)
    assert (in_file.severity, in_pixels.severity) == (HIGH, MEDIUM)
    assert in_file.files == ("2.jpg", "4.jpg")
    said = (
        "class b: all are PNG, of the others none. "
        "By file format alone 90% [80%, 95%] of the answers are right, where chance is 50%."
    )
    assert in_file.advice == f"{said} Save or collect all classes alike, or evaluate on photos from elsewhere."
    assert in_pixels.advice == f"{said} It may be the subject itself: look, and evaluate on photos from elsewhere."
    assert in_file.more == {
        "cue": "file format",
        "balanced_accuracy": 0.9,
        "interval": [0.8, 0.95],
        "chance": 0.5,
        "class": "b",
        "share_of_class": 1.0,
        "share_of_others": 0.0,
    }
    assert shortcut_findings(photos, answers, [cue_score(made([0, 1, 0, 1]), of_file=True, accuracy=0.6)]) == []


@pytest.mark.parametrize(
    ("share", "others", "said"),
    [
        (1.0, 0.0, "all x, of the others none"),
        (0.99, 0.01, "99% x, of the others 1%"),
        (0.5, 0.006, "50% x, of the others 0.6%"),
    ],
)
def test_shares_in_words(share: float, others: float, said: str) -> None:
    giveaway = Giveaway(0, "x", np.zeros(1, dtype=bool), share, others, clear=True)
    assert giveaway_in_words(giveaway, ["a"]) == f"class a: {said}"


def test_outliers() -> None:
    photos = made([0, 0, 0])
    (one,) = outlier_findings(photos, np.array([2, 0]))
    assert (one.kind, one.severity, one.files) == ("outlier", LOW, ("2.jpg", "0.jpg"))
    assert outlier_findings(photos, np.array([], dtype=int)) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([0.3], "of the first 1 likely wrong labels fewer than 1 is expected to be wrong indeed"),
        ([0.9, 0.8, 0.4, 0.9], "of the first 3 likely wrong labels about 2 are expected to be wrong indeed"),
        ([], ""),
    ],
)
def test_how_many_are_expected(wrong: list[float], said: str) -> None:
    assert expected_in_words(errors(wrong), 3) == said


@pytest.mark.parametrize(("wrong", "said"), [(3, "; roughly, as what looked at them is right in 85% alone"), (2, "")])
def test_a_classifier_that_is_often_wrong_gives_a_rough_number(wrong: int, said: str) -> None:
    """Of 20 photos."""
    labels = [0, 1] * 10
    photos, probabilities = made(labels), np.eye(2)[labels]
    probabilities[:wrong] = 1 - probabilities[:wrong]
    rows = np.arange(20)
    answers = HeldOutAnswers(rows, photos.dataset(rows), rows % 5, probabilities, np.ones(20, dtype=bool))
    whole = expected_in_words(errors([0.9]), 3, answers)
    assert whole == f"of the first 1 likely wrong labels about 1 is expected to be wrong indeed{said}"


def test_what_is_often_wrong_itself_finds_nothing_of_high_severity() -> None:
    labels = [0, 1] * 10
    photos, probabilities = made(labels), np.eye(2)[labels]
    probabilities[:3] = 1 - probabilities[:3]
    rows = np.arange(20)
    answers = HeldOutAnswers(rows, photos.dataset(rows), rows % 5, probabilities, np.ones(20, dtype=bool))
    assert [one.severity for one in label_findings(photos, answers, errors([0.99, 0.2, 0.01]))] == [MEDIUM, MEDIUM, LOW]


# --- lists ---


def test_nothing_was_found() -> None:
    assert lines_of([], 1234) == ["1,234 photos, and nothing was found."]
    assert lines_of([], 1) == ["1 photo, and nothing was found."]


def test_findings_in_lines() -> None:
    copies = [
        Finding("exact-duplicate", HIGH, (f"{k}.jpg", f"copy{k}.jpg"), "advice of copies.", ("splits",))
        for k in range(6)
    ]
    wrong = [Finding("likely-mislabelled", MEDIUM, (f"{k}.jpg",), f"look at {k}.") for k in "wv"]
    dark = [Finding("dark", LOW, tuple(f"d{k}.jpg" for k in range(6)), "advice.")]
    assert lines_of([*copies, *wrong, *dark], 1000, shown=2) == [
        "1,000 photos; findings: 9 (6 high, 2 medium, 1 low), in 20 photos",
        "",
        "high    exact-duplicate: copies of one photo (6; across splits: 6)",
        "        advice of copies.",
        "        0.jpg = copy0.jpg",
        "        1.jpg = copy1.jpg",
        "        ... and 4 more",
        "",
        "medium  likely-mislabelled: labels that are likely wrong (2)",
        "        w.jpg: look at w.",
        "        v.jpg: look at v.",
        "",
        "low     dark: photos that are nearly black (6)",
        "        advice.",
        "        d0.jpg, d1.jpg and 4 more",
    ]


def test_names_are_shown_within_the_folder_that_all_lie_in() -> None:
    found = [Finding("exact-duplicate", MEDIUM, ("p/a.jpg", "p/q/b.jpg", "p2/c.jpg"), "keep one.")]
    assert lines_of(found, 3, where="p")[-1].strip() == "a.jpg = q/b.jpg = p2/c.jpg"
    many = [Finding("near-duplicate", LOW, tuple(f"{k}" for k in range(9)), "look.")]
    assert lines_of(many, 9)[-1].strip() == "0 = 1 = 2 = 3 = 4 = 5 and 3 more"


def test_all_shortcuts_are_said_without_their_files() -> None:
    found = [Finding("shortcut", HIGH, ("a.jpg", "b.jpg"), f"class {k}.") for k in range(6)]
    lines = lines_of(found, 10, shown=2)
    assert lines == [
        "10 photos; findings: 6 (6 high)",
        "",
        "high    shortcut: cues that give classes away besides the subject",
        *(f"        class {k}." for k in range(6)),
    ]


@pytest.mark.parametrize(
    ("found", "head", "files"),
    [
        (
            Finding("subject-leak", HIGH, ("a", "b", "c"), "p1.", ("splits",)),
            "groups on both sides of a split (1; across splits: 1)",
            ["a = b = c"],
        ),
        (Finding("exact-duplicate", MEDIUM, ("a", "b", "c"), "keep."), "copies of one photo (1)", ["a = b = c"]),
        (Finding("shortcut", HIGH, ("a",), "class a."), "cues that give classes away besides the subject", []),
        (Finding("dark", LOW, ("a",), "look."), "photos that are nearly black (1)", ["a"]),
        (Finding("dark", LOW, ("a", "b", "c"), "look."), "photos that are nearly black (3)", ["a, b, c"]),
        (Finding("imbalance", LOW, (), "few."), "classes of few photos, or of very different size", []),
    ],
)
def test_a_single_finding_is_counted_as_what_it_is(found: Finding, head: str, files: list[str]) -> None:
    _, empty, first, advice, *rest = lines_of([found], 10)
    assert (empty, first) == ("", f"{found.severity:<8}{found.kind}: {head}")
    assert advice.strip() == found.advice
    assert [line.strip() for line in rest] == files
