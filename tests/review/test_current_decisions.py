"""What counts at present, read row by row: always what the store itself says of all rows."""

from pathlib import Path

import numpy as np

from regraft.review.current_decisions import CurrentDecisions
from regraft.review.decisions import DecisionStore


def test_it_agrees_with_the_store_after_every_row(tmp_path: Path) -> None:
    """400 random rows of three reviewers and eight photos, half of them written by another store of the same file."""
    ours, theirs = DecisionStore(tmp_path / "a.sqlite"), DecisionStore(tmp_path / "a.sqlite")
    standing, generator = CurrentDecisions(ours), np.random.default_rng(3)
    differed = 0
    for number in range(400):
        store = (ours, theirs)[number % 2]
        reviewer = str(generator.choice(["ada", "bo", "cy"]))
        key = bytes([int(generator.integers(8))]) * 32
        action = str(generator.choice(["confirm", "relabel", "exclude", "undo"]))
        if action == "undo":
            store.undo(reviewer)
        else:
            label = None if action == "exclude" else str(generator.choice(["cat", "dog"]))
            store.record(key, "a.jpg", action, label, reviewer=reviewer)
        rows = ours.log()
        assert standing.catch_up() == (rows[-1].number if rows else 0)
        assert standing.state() == ours.state()
        conflicts = {rows[0].key for rows in ours.conflicts()}
        assert {bytes([key]) * 32 for key in range(8) if standing.differing(bytes([key]) * 32)} == conflicts
        differed += bool(conflicts)
    assert differed > 100  # else the test shows little


def test_what_others_said_is_their_last_word_where_it_is_not_what_counts(tmp_path: Path) -> None:
    store, key = DecisionStore(tmp_path / "a.sqlite"), bytes(32)
    standing = CurrentDecisions(store)
    for reviewer, label in (("ada", "cat"), ("bo", "dog"), ("cy", "owl"), ("bo", "cat"), ("ada", "cat")):
        store.record(key, "a.jpg", "relabel", label, reviewer=reviewer)
    standing.catch_up()
    counts = standing.of(key)
    assert counts is not None
    assert (counts.reviewer, counts.label) == ("ada", "cat")
    assert [(one.reviewer, one.label) for one in standing.differing(key)] == [("cy", "owl")]
    assert standing.of(b"\1" * 32) is None
    assert standing.differing(b"\1" * 32) == []
