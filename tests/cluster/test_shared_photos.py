"""Photos that a worker does not see are named, and are not left out as if they were damaged."""

import re
from pathlib import Path

import pytest

from regraft.cluster.shared_photos import check_seen
from regraft.errors import DataError
from regraft.images.sources import EncodedImage


def test_a_photo_that_only_this_machine_has_is_named(tmp_path: Path) -> None:
    here, gone = tmp_path / "here.jpg", tmp_path / "gone.jpg"
    here.touch()
    sources = (here, gone, EncodedImage(b"", "in memory"))
    check_seen([0, 2], sources, frozenset())  # of its share
    check_seen([0, 1, 2], sources, frozenset({1}))  # a table may list what is nowhere
    with pytest.raises(
        DataError, match=f"^{re.escape(str(gone))} is there for the process that was started, .* Every machine"
    ):
        check_seen([0, 1, 2], sources, frozenset())
