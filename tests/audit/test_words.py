"""Findings in words: what each says, and how a list of them is shown."""

import numpy as np
import pytest
from tests.audit.made import made

from regraft.audit.cues import Cue
from regraft.audit.held_out import HeldOutAnswers
from regraft.audit.photos import AuditPhotos
from regraft.audit.shortcuts import CueScore, Giveaway
from regraft.audit.words import (
    expected_in_words,
    giveaway_in_words,
    label_findings,
    lines_of,
    outlier_findings,
    shortcut_findings,
    unreadable_findings,
)
from regraft.data.findings import HIGH, LOW, MEDIUM, Finding
from regraft.evaluation.label_errors import LabelErrors


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
    assert one.advice == "the file is empty: copy them again, or leave out what is damaged."
    (one,) = unreadable_findings(made([0] * 9, keys=[b"x"] * 8 + [b""]))
    assert (one.severity, one.advice) == (HIGH, "the file is empty: copy it again, or leave out what is damaged.")


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
        "A guess by the file format alone is right in 90% [80%, 95%] where chance is 50%."
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
        "1,000 photos, 9 findings in 20 of them: 6 high, 2 medium, 1 low",
        "",
        "high   exact-duplicate: 6 copies of one photo (6 across splits)",
        "       advice of copies.",
        "       0.jpg = copy0.jpg",
        "       1.jpg = copy1.jpg",
        "       ... and 4 more",
        "",
        "medium likely-mislabelled: 2 labels that are likely wrong",
        "       w.jpg: look at w.",
        "       v.jpg: look at v.",
        "",
        "low    dark: 6 photos that are nearly black",
        "       advice.",
        "       d0.jpg, d1.jpg and 4 more",
    ]


def test_all_shortcuts_are_said_without_their_files() -> None:
    found = [Finding("shortcut", HIGH, ("a.jpg", "b.jpg"), f"class {k}.") for k in range(6)]
    lines = lines_of(found, 10, shown=2)
    assert lines[2:] == [
        "high   shortcut: 6 cues that give classes away besides the subject",
        *(f"       class {k}." for k in range(6)),
    ]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            Finding("subject-leak", HIGH, ("a", "b", "c"), "p1.", ("splits",)),
            "groups on both sides of a split (1 across splits)",
        ),
        (Finding("exact-duplicate", MEDIUM, ("a", "b", "c"), "keep."), "copies of one photo"),
        (Finding("shortcut", HIGH, ("a", "b", "c"), "class a."), "cues that give classes away besides the subject"),
        (Finding("dark", LOW, ("a",), "look."), "photos that are nearly black"),
        (Finding("dark", LOW, ("a", "b", "c"), "look."), "3 photos that are nearly black"),
        (Finding("imbalance", LOW, (), "few."), "classes of very different size"),
    ],
)
def test_a_single_finding_is_counted_as_what_it_is(found: Finding, line: str) -> None:
    first, empty, head, advice, *files = lines_of([found], 10)
    assert first.startswith(f"10 photos, 1 finding in {len(found.files)} of them")
    assert (empty, head) == ("", f"{found.severity:<7}{found.kind}: {line}")
    assert advice.strip() == found.advice
    shown = found.files and found.kind != "shortcut"
    assert files == ([f"       {', '.join(found.files)}"] if shown else [])
